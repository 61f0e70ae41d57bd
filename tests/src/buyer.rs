//! What people do about their invoices.

use sewa_sdk::sewa::billing::v1::{BillingProfile, TaxNumberKind, UpdateBillingProfileRequest};
use sewa_sdk::sewa::invoice::v1::{Invoice, ListInvoicesRequest};

use crate::actor::Actor;
use crate::patience::eventually;

impl Actor {
    /// Says who the account's invoices are made out to.
    pub async fn name_buyer(&self) -> BillingProfile {
        let profile = BillingProfile {
            name: "CV Toko Budi".to_owned(),
            tax_number_kind: TaxNumberKind::Npwp.into(),
            tax_number: "09.876.543.2-109.000".to_owned(),
            address: "Jl. Merdeka 17".to_owned(),
            city: "Bandung".to_owned(),
            province: "Jawa Barat".to_owned(),
            postal_code: "40111".to_owned(),
            ..Default::default()
        };
        let request = UpdateBillingProfileRequest {
            billing_profile: Some(profile),
            update_mask: None,
        };
        let reply = self.billing().update_billing_profile(request).await;
        let reply = reply.expect("writing a billing profile").into_inner();
        reply.billing_profile.expect("a billing profile")
    }

    /// The account's invoices, oldest first, once there are `count` of them. They are issued a moment after the money moved.
    pub async fn invoiced(&self, count: usize) -> Vec<Invoice> {
        eventually(&format!("{count} invoices are issued"), || async {
            let request = ListInvoicesRequest {
                page_size: 200,
                ..Default::default()
            };
            let reply = self.invoices().list_invoices(request).await;
            let mut invoices = reply.map_err(|e| e.to_string())?.into_inner().invoices;
            invoices.reverse();
            if invoices.len() >= count {
                Ok(invoices)
            } else {
                Err(format!("{invoices:?}"))
            }
        })
        .await
    }
}
