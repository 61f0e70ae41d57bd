//! The XML that the tax office's Coretax imports output tax invoices from. docs/invoices.md says which template this follows and how it was checked.

use anyhow::Result;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::base::money::Rupiah;
use crate::base::{tax, time};
use crate::service::billing::model::TaxNumberKind;
use crate::service::invoice::model::{Invoice, Line, Party};

/// Tax computed on another value than the price (DPP nilai lain), which all prices are since 2025.
const OTHER_VALUE: &str = "04";
/// The price itself.
const PRICE: &str = "01";
/// A service, and not goods.
const SERVICE: &str = "B";
/// Coretax's code of goods and services that have none of their own.
const ANY_CODE: &str = "000000";
/// Coretax's unit "lainnya" (other).
const UNIT: &str = "UM.0033";
const NO_NUMBER: &str = "0000000000000000";
const HEAD_OFFICE: &str = "000000";

/// The file for these invoices, UTF-8.
///
/// # Errors
/// None that happens: it is written to memory.
pub fn export(seller: &Party, invoices: &[Invoice]) -> Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    writer
        .create_element("TaxInvoiceBulk")
        .with_attribute(("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"))
        .with_attribute(("xsi:noNamespaceSchemaLocation", "TaxInvoice.xsd"))
        .write_inner_content(|writer| {
            leaf(writer, "TIN", &seller.tax_number)?;
            writer
                .create_element("ListOfTaxInvoice")
                .write_inner_content(|writer| {
                    invoices
                        .iter()
                        .try_for_each(|invoice| tax_invoice(writer, invoice))
                })?;
            Ok(())
        })?;
    Ok(writer.into_inner())
}

fn tax_invoice(writer: &mut Writer<Vec<u8>>, invoice: &Invoice) -> std::io::Result<()> {
    let (seller, buyer) = (&invoice.seller, &invoice.buyer);
    let day = time::jakarta(invoice.issued_at).date_naive();
    let other = invoice.tax_base != invoice.net;
    let number = buyer.tax_number.as_str();
    // Whoever has no NPWP is named by another document, and has no place of business.
    let (tin, document, document_number, site) = match buyer.tax_number_kind {
        TaxNumberKind::Npwp => (number, "TIN", "", place(buyer)),
        TaxNumberKind::Nik => (NO_NUMBER, "National ID", number, HEAD_OFFICE.to_owned()),
        TaxNumberKind::None => (NO_NUMBER, "Other ID", "-", HEAD_OFFICE.to_owned()),
    };
    let fields = [
        ("TaxInvoiceDate", day.to_string()),
        ("TaxInvoiceOpt", "Normal".to_owned()),
        (
            "TrxCode",
            (if other { OTHER_VALUE } else { PRICE }).to_owned(),
        ),
        ("AddInfo", String::new()),
        ("CustomDoc", String::new()),
        ("CustomDocMonthYear", String::new()),
        ("RefDesc", invoice.number()),
        ("FacilityStamp", String::new()),
        ("SellerIDTKU", place(seller)),
        ("BuyerTin", tin.to_owned()),
        ("BuyerDocument", document.to_owned()),
        ("BuyerCountry", "IDN".to_owned()),
        ("BuyerDocumentNumber", document_number.to_owned()),
        ("BuyerName", buyer.name.clone()),
        // As the template spells it.
        ("BuyerAdress", buyer.address.join(", ")),
        ("BuyerEmail", buyer.email.clone()),
        ("BuyerIDTKU", site),
    ];
    writer
        .create_element("TaxInvoice")
        .write_inner_content(|writer| {
            for (name, value) in &fields {
                leaf(writer, name, value)?;
            }
            writer
                .create_element("ListOfGoodService")
                .write_inner_content(|writer| good_service(writer, invoice))?;
            Ok(())
        })?;
    Ok(())
}

/// One line for the whole invoice, so that its tax is the tax that was charged, to the rupiah.
fn good_service(writer: &mut Writer<Vec<u8>>, invoice: &Invoice) -> std::io::Result<()> {
    let names: Vec<String> = invoice.lines.iter().map(name).collect();
    let rupiah = |amount: i64| format!("{amount}.00");
    // The template has two decimals here, so the base is that of the price in hundredths.
    let hundredths = Rupiah(invoice.net.0.saturating_mul(100));
    let base = tax::basis(hundredths, invoice.issued_at).base.0;
    let base = format!("{}.{:02}", base / 100, base % 100);
    let fields = [
        ("Opt", SERVICE.to_owned()),
        ("Code", ANY_CODE.to_owned()),
        ("Name", names.join("; ")),
        ("Unit", UNIT.to_owned()),
        ("Price", rupiah(invoice.net.0)),
        ("Qty", "1".to_owned()),
        ("TotalDiscount", rupiah(0)),
        ("TaxBase", rupiah(invoice.net.0)),
        ("OtherTaxBase", base),
        ("VATRate", invoice.tax_percent.to_string()),
        ("VAT", rupiah(invoice.tax.0)),
        ("STLGRate", "0".to_owned()),
        ("STLG", rupiah(0)),
    ];
    writer
        .create_element("GoodService")
        .write_inner_content(|writer| {
            fields
                .iter()
                .try_for_each(|(name, value)| leaf(writer, name, value))
        })?;
    Ok(())
}

fn name(line: &Line) -> String {
    if line.hostname.is_empty() {
        return line.description.clone();
    }
    format!("Sewa server virtual {} ({})", line.plan_name, line.hostname)
}

/// NPWP and the six digits of the place of business (NITKU).
fn place(party: &Party) -> String {
    let branch = match party.branch.as_str() {
        "" => HEAD_OFFICE,
        branch => branch,
    };
    format!("{}{branch}", party.tax_number)
}

fn leaf(writer: &mut Writer<Vec<u8>>, name: &str, value: &str) -> std::io::Result<()> {
    let element = writer.create_element(name);
    if value.is_empty() {
        element.write_empty()?;
    } else {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        element.write_text_content(BytesText::new(&value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::invoice::model::tests::example;

    /// The elements of a file in order, with their text.
    fn elements(xml: &[u8]) -> Vec<(String, String)> {
        let mut reader = quick_xml::Reader::from_reader(xml);
        let mut found: Vec<(String, String)> = Vec::new();
        loop {
            let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            match reader.read_event().expect("XML") {
                Event::Start(tag) => found.push((name(tag.name().as_ref()), String::new())),
                Event::Empty(tag) => found.push((name(tag.name().as_ref()), String::new())),
                Event::Text(text) => {
                    let text = text.decode().expect("text");
                    // What indents the file is no text.
                    if let Some((_, last)) = found.last_mut().filter(|_| !text.trim().is_empty()) {
                        last.push_str(&text);
                    }
                }
                Event::GeneralRef(entity) => {
                    if let Some((_, last)) = found.last_mut() {
                        last.push_str(&format!("&{};", entity.decode().expect("text")));
                    }
                }
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    #[test]
    fn the_file_has_the_elements_of_the_template_in_its_order() {
        let invoice = example();
        let xml = export(&invoice.seller, std::slice::from_ref(&invoice)).expect("XML");
        let found = elements(&xml);
        let expected = [
            ("TaxInvoiceBulk", ""),
            ("TIN", "0012345678901000"),
            ("ListOfTaxInvoice", ""),
            ("TaxInvoice", ""),
            ("TaxInvoiceDate", "2026-11-21"),
            ("TaxInvoiceOpt", "Normal"),
            ("TrxCode", "04"),
            ("AddInfo", ""),
            ("CustomDoc", ""),
            ("CustomDocMonthYear", ""),
            ("RefDesc", "INV/202611/000017"),
            ("FacilityStamp", ""),
            ("SellerIDTKU", "0012345678901000000000"),
            ("BuyerTin", "0098765432109000"),
            ("BuyerDocument", "TIN"),
            ("BuyerCountry", "IDN"),
            ("BuyerDocumentNumber", ""),
            ("BuyerName", "CV Maju &amp; Jaya &lt;Bersama&gt;"),
            (
                "BuyerAdress",
                "Jl. Jenderal Sudirman Kav. 1, Lantai 12, Jakarta Selatan 12190, DKI Jakarta",
            ),
            ("BuyerEmail", "finance@example.com"),
            ("BuyerIDTKU", "0098765432109000000000"),
            ("ListOfGoodService", ""),
            ("GoodService", ""),
            ("Opt", "B"),
            ("Code", "000000"),
            ("Name", "Sewa server virtual Basic 2 (toko-1)"),
            ("Unit", "UM.0033"),
            ("Price", "79000.00"),
            ("Qty", "1"),
            ("TotalDiscount", "0.00"),
            ("TaxBase", "79000.00"),
            ("OtherTaxBase", "72416.67"),
            ("VATRate", "12"),
            ("VAT", "8690.00"),
            ("STLGRate", "0"),
            ("STLG", "0.00"),
        ];
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_buyer_without_npwp_is_named_by_another_document() {
        let mut invoice = example();
        for (kind, number, document, shown) in [
            (
                TaxNumberKind::Nik,
                "3174055201900001",
                "National ID",
                "3174055201900001",
            ),
            (TaxNumberKind::None, "", "Other ID", "-"),
        ] {
            invoice.buyer.tax_number_kind = kind;
            invoice.buyer.tax_number = number.to_owned();
            let xml = export(&invoice.seller, std::slice::from_ref(&invoice)).expect("XML");
            let found = elements(&xml);
            let text = |name: &str| {
                let found = found.iter().find(|(found, _)| found == name);
                found.map(|(_, text)| text.clone()).unwrap_or_default()
            };
            assert_eq!(text("BuyerTin"), NO_NUMBER);
            assert_eq!(text("BuyerDocument"), document);
            assert_eq!(text("BuyerDocumentNumber"), shown);
            assert_eq!(text("BuyerIDTKU"), "000000");
        }
    }
}
