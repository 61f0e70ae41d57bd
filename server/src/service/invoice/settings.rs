//! The section `seller` of the settings: who sells, as invoices say it.

use serde::Deserialize;

use crate::service::billing::model::{TaxNumberKind, npwp};
use crate::service::invoice::model::Party;

/// Who sells. Without a name no invoices are issued.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SellerSettings {
    /// Name of the company.
    pub name: String,
    /// Address, in lines.
    pub address: String,
    /// NPWP, 15 or 16 digits.
    pub npwp: String,
    /// The six digits of the place of business that follow the NPWP (NITKU); `000000` if empty, which is the head office.
    pub branch: String,
    /// E-mail address for questions about invoices; printed on them.
    pub email: String,
}

impl SellerSettings {
    /// The seller; `None` if the settings name none.
    pub fn party(&self) -> Option<Party> {
        Some(Party {
            name: Some(self.name.trim().to_owned()).filter(|name| !name.is_empty())?,
            address: lines(&self.address),
            tax_number_kind: TaxNumberKind::Npwp,
            tax_number: npwp(&self.npwp)?,
            branch: self.branch.clone(),
            email: self.email.trim().to_owned(),
        })
    }

    /// What is wrong with the section.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let set = [&self.name, &self.address, &self.npwp].map(|text| !text.trim().is_empty());
        if set.contains(&true) && set.contains(&false) {
            problems.push(
                "seller.name, seller.address and seller.npwp are set together, or none is"
                    .to_owned(),
            );
        }
        if set[2] && npwp(&self.npwp).is_none() {
            problems.push("seller.npwp must have 15 or 16 digits".to_owned());
        }
        let digits = self.branch.bytes().all(|b| b.is_ascii_digit());
        if !digits || ![0, 6].contains(&self.branch.len()) {
            problems.push(format!(
                "seller.branch must have six digits, not {:?}",
                self.branch
            ));
        }
        problems
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
