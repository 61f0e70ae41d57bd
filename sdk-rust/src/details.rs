//! The standard details inside a status, read once.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic_types::pb;

use crate::error::{FieldViolation, QuotaViolation, Reason};

/// The standard details of a status.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    pub(crate) reason: Option<Reason>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) fields: Vec<FieldViolation>,
    pub(crate) quotas: Vec<QuotaViolation>,
    pub(crate) localized: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl Details {
    /// Malformed details are left out: they must not hide the code and the message.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut details = Self::default();
        for any in pb::Status::decode(bytes)
            .map(|status| status.details)
            .unwrap_or_default()
        {
            details.add(
                any.type_url.rsplit('/').next().unwrap_or_default(),
                &any.value,
            );
        }
        details
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        match name {
            "google.rpc.ErrorInfo" => {
                if let Ok(info) = pb::ErrorInfo::decode(value) {
                    self.reason = (!info.reason.is_empty()).then_some(Reason(info.reason));
                    self.metadata = info.metadata;
                }
            }
            "google.rpc.RetryInfo" => {
                let delay = pb::RetryInfo::decode(value)
                    .ok()
                    .and_then(|info| info.retry_delay);
                self.retry_after = delay.and_then(|delay| Duration::try_from(delay).ok());
            }
            "google.rpc.BadRequest" => {
                let found = pb::BadRequest::decode(value)
                    .unwrap_or_default()
                    .field_violations;
                self.fields
                    .extend(found.into_iter().map(|v| FieldViolation {
                        field: v.field,
                        reason: v.reason,
                        description: v.description,
                    }));
            }
            "google.rpc.QuotaFailure" => {
                let found = pb::QuotaFailure::decode(value)
                    .unwrap_or_default()
                    .violations;
                self.quotas
                    .extend(found.into_iter().map(|v| QuotaViolation {
                        subject: v.subject,
                        metric: v.quota_metric,
                        limit: v.quota_value,
                        description: v.description,
                    }));
            }
            "google.rpc.LocalizedMessage" => {
                self.localized = pb::LocalizedMessage::decode(value)
                    .ok()
                    .map(|text| text.message)
            }
            "google.rpc.RequestInfo" => {
                self.request_id = pb::RequestInfo::decode(value)
                    .ok()
                    .map(|info| info.request_id)
            }
            _ => {}
        }
    }
}
