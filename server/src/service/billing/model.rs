//! The rules of billing profiles: what a tax number looks like and what a profile needs. Pure.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::billing::v1 as proto;

use crate::service::billing::error::Error;

/// Fields that clients may write.
pub const FIELDS: &[&str] = &[
    "name",
    "tax_number_kind",
    "tax_number",
    "branch",
    "address",
    "city",
    "province",
    "postal_code",
    "email",
    "language",
];

/// Which number identifies somebody for tax. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TaxNumberKind {
    /// None was given.
    #[default]
    None = 0,
    /// Nomor Pokok Wajib Pajak.
    Npwp = 1,
    /// Nomor Induk Kependudukan.
    Nik = 2,
}

impl TaxNumberKind {
    /// The kind with that number.
    pub fn from_number(number: i16) -> Self {
        match number {
            1 => Self::Npwp,
            2 => Self::Nik,
            _ => Self::None,
        }
    }

    /// As documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Npwp => "NPWP",
            Self::Nik => "NIK",
        }
    }
}

/// Who invoices are made out to. Empty before it was first written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BillingProfile {
    /// Name of the person or company.
    pub name: String,
    /// What `tax_number` is.
    pub tax_number_kind: TaxNumberKind,
    /// 16 digits, or empty.
    pub tax_number: String,
    /// The six digits of the place of business, or empty for the head office.
    pub branch: String,
    /// Street and number.
    pub address: String,
    /// City or regency.
    pub city: String,
    /// Province.
    pub province: String,
    /// Five digits.
    pub postal_code: String,
    /// E-mail address.
    pub email: String,
    /// `id`, `en` or empty.
    pub language: String,
    /// When it was last changed.
    pub updated_at: Option<DateTime<Utc>>,
}

/// New values of some fields.
pub struct Changes {
    /// Which.
    pub fields: Vec<&'static str>,
    /// The values; those of other fields do not matter.
    pub new: proto::BillingProfile,
}

impl BillingProfile {
    /// Whether an account with real money may order.
    pub fn is_complete(&self) -> bool {
        let needed = [
            &self.name,
            &self.address,
            &self.city,
            &self.province,
            &self.postal_code,
        ];
        needed.iter().all(|field| !field.is_empty())
    }

    /// The profile with these changes.
    ///
    /// # Errors
    /// If the tax number has not the form of its kind.
    pub fn with(mut self, changes: Changes) -> Result<Self, Error> {
        let new = changes.new;
        let is = |field| changes.fields.contains(&field);
        if is("tax_number_kind") {
            let kind = i16::try_from(new.tax_number_kind).unwrap_or_default();
            self.tax_number_kind = TaxNumberKind::from_number(kind);
        }
        let texts = [
            ("name", &mut self.name, new.name),
            ("tax_number", &mut self.tax_number, new.tax_number),
            ("branch", &mut self.branch, new.branch),
            ("address", &mut self.address, new.address),
            ("city", &mut self.city, new.city),
            ("province", &mut self.province, new.province),
            ("postal_code", &mut self.postal_code, new.postal_code),
            ("email", &mut self.email, new.email),
            ("language", &mut self.language, new.language),
        ];
        for (field, old, new) in texts {
            if is(field) {
                new.trim().clone_into(old);
            }
        }
        self.tax_number = tax_number(self.tax_number_kind, &self.tax_number)
            .ok_or(Error::TaxNumberMalformed(self.tax_number_kind))?;
        Ok(self)
    }
}

/// The digits of a tax number, if it has the form of its kind.
fn tax_number(kind: TaxNumberKind, written: &str) -> Option<String> {
    let digits = digits(written)?;
    match kind {
        TaxNumberKind::None => digits.is_empty().then_some(digits),
        TaxNumberKind::Npwp => npwp(&digits),
        TaxNumberKind::Nik => is_nik(&digits).then_some(digits),
    }
}

/// An NPWP with 16 digits. One of 15 gets a zero before it, which is how PMK 112/2022 makes the old form into the new one.
pub fn npwp(written: &str) -> Option<String> {
    let digits = digits(written)?;
    match digits.len() {
        15 => Some(format!("0{digits}")),
        16 => Some(digits),
        _ => None,
    }
    .filter(|digits| digits.bytes().any(|digit| digit != b'0'))
}

/// The digits of a number that people write with dots, dashes and spaces; `None` if there is anything else in it.
fn digits(written: &str) -> Option<String> {
    let kept: String = written
        .chars()
        .filter(|c| !matches!(c, '.' | '-' | ' '))
        .collect();
    kept.bytes().all(|b| b.is_ascii_digit()).then_some(kept)
}

/// Six digits of a region, six of a date of birth (the day plus 40 for women), and four that count from 1.
fn is_nik(digits: &str) -> bool {
    let number = |range: std::ops::Range<usize>| -> u32 {
        let digits = digits.get(range).unwrap_or_default();
        digits.parse().unwrap_or_default()
    };
    let day = number(6..8);
    let day = if day > 40 { day - 40 } else { day };
    digits.len() == 16
        && number(0..2) >= 11
        && (1..=31).contains(&day)
        && (1..=12).contains(&number(8..10))
        && number(12..16) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tax_numbers_have_the_form_of_their_kind() {
        use TaxNumberKind::{Nik, None as Nothing, Npwp};
        for (kind, written, kept) in [
            (Nothing, "", Some("")),
            (Nothing, "1", None),
            (Npwp, "01.234.567.8-901.000", Some("0012345678901000")),
            (Npwp, "0012345678901000", Some("0012345678901000")),
            (Npwp, "01.234.567.8-901", None),
            (Npwp, "0000000000000000", None),
            (Npwp, "001234567890100a", None),
            (Npwp, "", None),
            (Nik, "3174 0552 0190 0001", Some("3174055201900001")),
            (Nik, "3174051201900001", Some("3174051201900001")),
            (Nik, "3174057201900001", None),
            (Nik, "3174051213900001", None),
            (Nik, "3174051201900000", None),
            (Nik, "0074051201900001", None),
            (Nik, "317405120190001", None),
            (Nik, "٣١٧٤٠٥١٢٠١٩٠٠٠٠١", None),
        ] {
            let found = tax_number(kind, written);
            assert_eq!(found.as_deref(), kept, "{kind:?} {written}");
        }
    }

    #[test]
    fn only_named_fields_change() {
        let profile = BillingProfile {
            name: "Budi".to_owned(),
            city: "Bandung".to_owned(),
            ..BillingProfile::default()
        };
        let changes = Changes {
            fields: vec!["city"],
            new: proto::BillingProfile {
                name: "Somebody".to_owned(),
                city: " Jakarta ".to_owned(),
                ..proto::BillingProfile::default()
            },
        };
        let changed = profile.with(changes).expect("a profile");
        assert_eq!(
            (changed.name.as_str(), changed.city.as_str()),
            ("Budi", "Jakarta")
        );
    }
}
