//! The rules of invoices: which series a charge belongs to, what its invoice says, and how numbers are given. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use uuid::Uuid;

use crate::base::id::{AccountId, InvoiceId, JournalId};
use crate::base::money::Rupiah;
use crate::base::{tax, time};
use crate::service::billing::model::TaxNumberKind;

/// What a document is. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// For a charge.
    Invoice = 1,
    /// For a refund.
    CreditNote = 2,
}

impl Kind {
    /// The kind with that number.
    pub fn from_number(number: i16) -> Self {
        match number {
            2 => Self::CreditNote,
            _ => Self::Invoice,
        }
    }

    /// The series its numbers are in.
    pub fn series(self, sandbox: bool) -> &'static str {
        match (self, sandbox) {
            (Self::Invoice, false) => "INV",
            (Self::CreditNote, false) => "CN",
            (Self::Invoice, true) => "TEST-INV",
            (Self::CreditNote, true) => "TEST-CN",
        }
    }
}

/// A seller or a buyer, as a document keeps it.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Party {
    /// Name.
    pub name: String,
    /// Address, in lines.
    pub address: Vec<String>,
    /// What `tax_number` is.
    pub tax_number_kind: TaxNumberKind,
    /// 16 digits, or empty.
    pub tax_number: String,
    /// The six digits of the place of business, or empty for the head office.
    pub branch: String,
    /// E-mail address, or empty.
    pub email: String,
}

/// One thing that was sold, as a document keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// As the ledger describes it.
    pub description: String,
    /// Name of the plan, or empty.
    pub plan_name: String,
    /// Name of the machine, or empty.
    pub hostname: String,
    /// Beginning of the period paid for.
    pub starts_at: Option<DateTime<Utc>>,
    /// End of the period paid for.
    pub ends_at: Option<DateTime<Utc>>,
    /// Price without tax; of a credit note what is given back of it.
    pub net: Rupiah,
}

/// A journal that charged or gave back, with what is known of it.
#[derive(Clone)]
pub struct Charge {
    /// Whose books.
    pub account: AccountId,
    /// The journal.
    pub journal: JournalId,
    /// What it is documented by.
    pub kind: Kind,
    /// What was charged for.
    pub subject: Uuid,
    /// The order that made the instance, where it was charged for one.
    pub order: Option<Uuid>,
    /// The line; its price is the journal's posting to revenue or refunds.
    pub line: Line,
    /// Tax, not negative.
    pub tax: Rupiah,
    /// When the money moved.
    pub at: DateTime<Utc>,
    /// True for an account whose money is not real.
    pub sandbox: bool,
    /// Who bought.
    pub buyer: Party,
    /// Language of the document.
    pub language: String,
}

/// An invoice or a credit note.
#[derive(Clone)]
pub struct Invoice {
    /// The account it was issued to.
    pub account: AccountId,
    /// Identifier.
    pub id: InvoiceId,
    /// What it is.
    pub kind: Kind,
    /// Its series.
    pub series: String,
    /// The first day of its month in Jakarta.
    pub month: NaiveDate,
    /// Its number within series and month.
    pub sequence: i32,
    /// The journal it is for.
    pub journal: JournalId,
    /// What was charged for.
    pub subject: Uuid,
    /// Of a credit note, the number of the invoice it corrects; empty if there is none.
    pub corrects: String,
    /// Price without tax.
    pub net: Rupiah,
    /// What tax is computed on.
    pub tax_base: Rupiah,
    /// Percent of it.
    pub tax_percent: i32,
    /// Tax.
    pub tax: Rupiah,
    /// Both together.
    pub total: Rupiah,
    /// What was sold.
    pub lines: Vec<Line>,
    /// Who sold.
    pub seller: Party,
    /// Who bought.
    pub buyer: Party,
    /// `id` or `en`.
    pub language: String,
    /// True for an account whose money is not real.
    pub sandbox: bool,
    /// When the money moved.
    pub issued_at: DateTime<Utc>,
    /// When it was written down.
    pub created_at: DateTime<Utc>,
}

impl Invoice {
    /// Its number as people write it.
    pub fn number(&self) -> String {
        number(&self.series, self.month, self.sequence)
    }
}

/// A number as people write it: `INV/202611/000017`.
pub fn number(series: &str, month: NaiveDate, sequence: i32) -> String {
    format!(
        "{series}/{}{:02}/{sequence:06}",
        month.year(),
        month.month()
    )
}

/// The first day of a moment's month in Jakarta.
pub fn month_of(at: DateTime<Utc>) -> NaiveDate {
    time::first_of_month(time::day_of(at))
}

/// Charges by series and month, each in the order in which they get their numbers.
pub fn in_series(mut charges: Vec<Charge>) -> BTreeMap<(&'static str, NaiveDate), Vec<Charge>> {
    charges.sort_by_key(|charge| (charge.at, charge.journal));
    let mut groups: BTreeMap<_, Vec<Charge>> = BTreeMap::new();
    for charge in charges {
        let key = (charge.kind.series(charge.sandbox), month_of(charge.at));
        groups.entry(key).or_default().push(charge);
    }
    groups
}

/// The document of a charge. The tax is what the ledger took; only how it is explained is computed here.
pub fn document(
    charge: Charge,
    sequence: i32,
    seller: &Party,
    corrects: String,
    now: DateTime<Utc>,
) -> Invoice {
    let (net, tax) = (charge.line.net, charge.tax);
    let basis = tax::basis(net, charge.at);
    Invoice {
        account: charge.account,
        id: InvoiceId::new(),
        kind: charge.kind,
        series: charge.kind.series(charge.sandbox).to_owned(),
        month: month_of(charge.at),
        sequence,
        journal: charge.journal,
        subject: charge.subject,
        corrects,
        net,
        tax_base: basis.base,
        tax_percent: basis.percent,
        tax,
        total: Rupiah(net.0.saturating_add(tax.0)),
        lines: vec![charge.line],
        seller: seller.clone(),
        buyer: charge.buyer,
        language: charge.language,
        sandbox: charge.sandbox,
        issued_at: charge.at,
        created_at: now,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An invoice as they usually are.
    pub(crate) fn example() -> Invoice {
        let party = |name: &str, number: &str| Party {
            name: name.to_owned(),
            address: vec![
                "Jl. Jenderal Sudirman Kav. 1, Lantai 12".to_owned(),
                "Jakarta Selatan 12190".to_owned(),
                "DKI Jakarta".to_owned(),
            ],
            tax_number_kind: TaxNumberKind::Npwp,
            tax_number: number.to_owned(),
            branch: String::new(),
            email: "finance@example.com".to_owned(),
        };
        let mut made = document(
            charge(Kind::Invoice, "2026-11-21T03:00:00Z", 1),
            17,
            &party("PT Sewa Awan Nusantara", "0012345678901000"),
            String::new(),
            "2026-11-21T03:00:01Z".parse().expect("a time"),
        );
        made.buyer = party("CV Maju & Jaya <Bersama>", "0098765432109000");
        let line = &mut made.lines[0];
        line.plan_name = "Basic 2".to_owned();
        line.hostname = "toko-1".to_owned();
        line.starts_at = Some(made.issued_at);
        line.ends_at = time::period_end(
            made.issued_at,
            sewa_sdk::sewa::api::v1::BillingPeriod::Month,
            1,
        );
        made
    }

    fn charge(kind: Kind, at: &str, journal: u128) -> Charge {
        Charge {
            account: AccountId(Uuid::nil()),
            journal: JournalId(Uuid::from_u128(journal)),
            kind,
            subject: Uuid::nil(),
            order: None,
            line: Line {
                description: "Renewal 2".to_owned(),
                plan_name: String::new(),
                hostname: String::new(),
                starts_at: None,
                ends_at: None,
                net: Rupiah(79_000),
            },
            tax: Rupiah(8690),
            at: at.parse().expect("a time"),
            sandbox: false,
            buyer: Party::default(),
            language: "id".to_owned(),
        }
    }

    #[test]
    fn months_are_those_of_jakarta_and_numbers_follow_time() {
        let groups = in_series(vec![
            charge(Kind::Invoice, "2026-11-30T17:00:00Z", 3),
            charge(Kind::Invoice, "2026-11-30T16:59:59Z", 2),
            charge(Kind::Invoice, "2026-11-02T00:00:00Z", 9),
            charge(Kind::CreditNote, "2026-11-02T00:00:00Z", 4),
        ]);
        let found: Vec<(String, Vec<u128>)> = groups
            .into_iter()
            .map(|((series, month), charges)| {
                let journals = charges.iter().map(|c| c.journal.0.as_u128()).collect();
                (number(series, month, 1), journals)
            })
            .collect();
        let expected = [
            ("CN/202611/000001".to_owned(), vec![4]),
            ("INV/202611/000001".to_owned(), vec![9, 2]),
            ("INV/202612/000001".to_owned(), vec![3]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_document_adds_up_to_its_charge() {
        let now = "2026-11-21T00:00:00Z".parse().expect("a time");
        let made = document(
            charge(Kind::Invoice, "2026-11-21T00:00:00Z", 1),
            17,
            &Party::default(),
            String::new(),
            now,
        );
        assert_eq!(made.number(), "INV/202611/000017");
        assert_eq!(made.total, Rupiah(87_690));
        assert_eq!((made.tax_base, made.tax_percent), (Rupiah(72_417), 12));
        assert_eq!(made.lines.iter().map(|l| l.net.0).sum::<i64>(), made.net.0);
    }
}
