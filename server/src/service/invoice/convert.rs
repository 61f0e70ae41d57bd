//! Invoices: model to contract.

use sewa_sdk::http_body::HttpBody;
use sewa_sdk::sewa::invoice::v1 as proto;

use crate::base::time;
use crate::service::invoice::model::{Invoice, Line, Party};

/// An invoice.
pub fn invoice(invoice: &Invoice) -> proto::Invoice {
    proto::Invoice {
        id: invoice.id.to_string(),
        account_id: invoice.account.to_string(),
        number: invoice.number(),
        kind: invoice.kind as i32,
        net: Some(invoice.net.to_proto()),
        tax_base: Some(invoice.tax_base.to_proto()),
        tax_percent: invoice.tax_percent,
        tax: Some(invoice.tax.to_proto()),
        total: Some(invoice.total.to_proto()),
        lines: invoice.lines.iter().map(line).collect(),
        seller: Some(party(&invoice.seller)),
        buyer: Some(party(&invoice.buyer)),
        journal_id: invoice.journal.to_string(),
        subject_id: if invoice.subject.is_nil() {
            String::new()
        } else {
            invoice.subject.to_string()
        },
        corrects_number: invoice.corrects.clone(),
        issue_time: Some(time::to_proto(invoice.issued_at)),
        create_time: Some(time::to_proto(invoice.created_at)),
        sandbox: invoice.sandbox,
    }
}

fn line(line: &Line) -> proto::InvoiceLine {
    proto::InvoiceLine {
        description: line.description.clone(),
        plan_name: line.plan_name.clone(),
        hostname: line.hostname.clone(),
        start_time: line.starts_at.map(time::to_proto),
        end_time: line.ends_at.map(time::to_proto),
        net: Some(line.net.to_proto()),
    }
}

fn party(party: &Party) -> proto::Party {
    proto::Party {
        name: party.name.clone(),
        address: party.address.clone(),
        tax_number_kind: party.tax_number_kind as i32,
        tax_number: party.tax_number.clone(),
        branch: party.branch.clone(),
        email: party.email.clone(),
    }
}

/// A document as REST clients get it.
pub fn http_body(content_type: &str, bytes: Vec<u8>) -> HttpBody {
    HttpBody {
        content_type: content_type.to_owned(),
        data: bytes.into(),
        extensions: Vec::new(),
    }
}
