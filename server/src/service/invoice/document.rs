//! An invoice or a credit note on paper: A4, in Indonesian or English, with as many pages as it needs.

use anyhow::Result;

use crate::base::pdf::{self, About, Align, HEIGHT, Pages, Style};
use crate::service::billing::model::TaxNumberKind;
use crate::service::invoice::model::{Invoice, Kind, Line, Party};
use crate::service::invoice::words;

const LEFT: f32 = 56.0;
const RIGHT: f32 = pdf::WIDTH - 56.0;
const TOP: f32 = 72.0;
/// Where the body of a page ends; the foot is below.
const BOTTOM: f32 = HEIGHT - 96.0;
/// The columns of the table: number, description, quantity; price and amount end where they are.
const DESCRIPTION: f32 = LEFT + 26.0;
const QUANTITY: f32 = RIGHT - 190.0;
const PRICE: f32 = RIGHT - 92.0;

const INK: (u8, u8, u8) = (26, 32, 44);
const GREY: (u8, u8, u8) = (105, 114, 128);
const ACCENT: (u8, u8, u8) = (17, 94, 117);
const HAIRLINE: (u8, u8, u8) = (205, 211, 219);

const BODY: Style = Style {
    size: 9.0,
    bold: false,
    colour: INK,
};
const STRONG: Style = Style { bold: true, ..BODY };
const SMALL: Style = Style {
    size: 8.0,
    colour: GREY,
    ..BODY
};
const LABEL: Style = Style {
    size: 7.5,
    bold: true,
    colour: GREY,
};
const TITLE: Style = Style {
    size: 20.0,
    bold: true,
    colour: ACCENT,
};
const SUM: Style = Style {
    size: 11.0,
    bold: true,
    colour: ACCENT,
};

/// Language of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `id`.
    Indonesian = 0,
    /// `en`.
    English = 1,
}

impl Language {
    /// By its code; Indonesian for one that is not known.
    pub fn of(code: &str) -> Self {
        match code {
            "en" => Self::English,
            _ => Self::Indonesian,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Indonesian => "id",
            Self::English => "en",
        }
    }

    /// The text in this language.
    fn pick(self, indonesian: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::Indonesian => indonesian,
            Self::English => english,
        }
    }
}

/// Draws a document.
///
/// # Errors
/// If the PDF cannot be written.
pub fn draw(invoice: &Invoice, language: Language) -> Result<Vec<u8>> {
    let mut sheet = Sheet {
        pages: Pages::default(),
        y: TOP,
        invoice,
        language,
    };
    sheet.head();
    sheet.parties();
    sheet.table();
    sheet.sums();
    sheet.remarks();
    sheet.feet();
    let about = About {
        title: format!("{} {}", sheet.title(), invoice.number()),
        author: invoice.seller.name.clone(),
        language: language.code().to_owned(),
    };
    sheet.pages.finish(about)
}

struct Sheet<'i> {
    pages: Pages,
    /// The next base line.
    y: f32,
    invoice: &'i Invoice,
    language: Language,
}

impl Sheet<'_> {
    fn title(&self) -> &'static str {
        match self.invoice.kind {
            Kind::Invoice => self.language.pick("FAKTUR", "INVOICE"),
            Kind::CreditNote => self.language.pick("NOTA KREDIT", "CREDIT NOTE"),
        }
    }

    fn say(&mut self, x: f32, align: Align, style: Style, text: &str) {
        self.pages.text((x, self.y), align, style, text);
    }

    fn rule(&mut self, width: f32, colour: (u8, u8, u8)) {
        self.pages
            .rule((LEFT, self.y), (RIGHT, self.y), width, colour);
    }

    /// Goes on with a new page if less than `height` is left on this one.
    fn need(&mut self, height: f32) -> bool {
        let full = self.y + height > BOTTOM;
        if full {
            self.pages.turn();
            self.y = TOP;
        }
        full
    }

    /// The seller on the left, what the document is on the right.
    fn head(&mut self) {
        let (invoice, language) = (self.invoice, self.language);
        let top = self.y;
        let name = Style {
            size: 13.0,
            ..STRONG
        };
        for line in pdf::wrap(&invoice.seller.name, name, 270.0) {
            self.say(LEFT, Align::Left, name, &line);
            self.y += 16.0;
        }
        for line in self.about(&invoice.seller, 270.0) {
            self.say(LEFT, Align::Left, SMALL, &line);
            self.y += 11.5;
        }
        let below = self.y;
        self.y = top + 3.0;
        let title = self.title();
        self.say(RIGHT, Align::Right, TITLE, title);
        self.y += 20.0;
        let mut facts = vec![
            (language.pick("Nomor", "Number"), invoice.number()),
            (
                language.pick("Tanggal", "Date"),
                words::day(invoice.issued_at, language),
            ),
        ];
        if !invoice.corrects.is_empty() {
            facts.push((
                language.pick("Atas faktur", "For invoice"),
                invoice.corrects.clone(),
            ));
        }
        let paid = match invoice.kind {
            Kind::Invoice => language.pick("LUNAS", "PAID"),
            Kind::CreditNote => language.pick("DIKREDITKAN", "CREDITED"),
        };
        facts.push((language.pick("Status", "Status"), paid.to_owned()));
        for (label, fact) in facts {
            self.say(RIGHT - 130.0, Align::Right, SMALL, label);
            self.say(RIGHT, Align::Right, STRONG, &fact);
            self.y += 13.0;
        }
        self.y = self.y.max(below) + 8.0;
        self.rule(1.2, ACCENT);
        self.y += 24.0;
    }

    /// Address, number and e-mail of somebody, in lines.
    fn about(&self, party: &Party, width: f32) -> Vec<String> {
        let address = party.address.iter();
        let mut lines: Vec<String> = address
            .flat_map(|line| pdf::wrap(line, SMALL, width))
            .collect();
        if !party.tax_number.is_empty() {
            let kind = party.tax_number_kind.as_str();
            lines.push(format!("{kind} {}", party.tax_number));
        }
        if party.tax_number_kind == TaxNumberKind::Npwp && !party.branch.is_empty() {
            lines.push(format!("NITKU {}{}", party.tax_number, party.branch));
        }
        if !party.email.is_empty() {
            lines.push(party.email.clone());
        }
        lines
    }

    fn parties(&mut self) {
        let (invoice, language) = (self.invoice, self.language);
        let label = language.pick("KEPADA", "BILL TO");
        self.say(LEFT, Align::Left, LABEL, label);
        self.y += 14.0;
        for line in pdf::wrap(&invoice.buyer.name, STRONG, RIGHT - LEFT) {
            self.say(LEFT, Align::Left, STRONG, &line);
            self.y += 13.0;
        }
        for line in self.about(&invoice.buyer, RIGHT - LEFT) {
            self.say(LEFT, Align::Left, SMALL, &line);
            self.y += 11.5;
        }
        self.y += 20.0;
    }

    fn columns(&mut self) {
        let language = self.language;
        let titles = [
            (LEFT, Align::Left, "NO"),
            (
                DESCRIPTION,
                Align::Left,
                language.pick("KETERANGAN", "DESCRIPTION"),
            ),
            (QUANTITY, Align::Right, language.pick("JUMLAH", "QTY")),
            (PRICE, Align::Right, language.pick("HARGA", "UNIT PRICE")),
            (RIGHT, Align::Right, language.pick("NILAI", "AMOUNT")),
        ];
        for (x, align, title) in titles {
            self.say(x, align, LABEL, title);
        }
        self.y += 7.0;
        self.rule(0.8, INK);
        self.y += 15.0;
    }

    fn table(&mut self) {
        let (invoice, language) = (self.invoice, self.language);
        self.columns();
        for (at, line) in invoice.lines.iter().enumerate() {
            let (what, details) = describe(line, language);
            let width = QUANTITY - DESCRIPTION - 50.0;
            let what = pdf::wrap(&what, BODY, width);
            let details: Vec<String> = details
                .iter()
                .flat_map(|detail| pdf::wrap(detail, SMALL, width))
                .collect();
            let lines = u16::try_from(what.len() + details.len()).unwrap_or(u16::MAX);
            if self.need(f32::from(lines) * 13.0 + 12.0) {
                self.columns();
            }
            let amount = words::amount(line.net, language);
            self.say(LEFT, Align::Left, BODY, &(at + 1).to_string());
            self.say(QUANTITY, Align::Right, BODY, "1");
            self.say(PRICE, Align::Right, BODY, &amount);
            self.say(RIGHT, Align::Right, BODY, &amount);
            for line in what {
                self.say(DESCRIPTION, Align::Left, BODY, &line);
                self.y += 13.0;
            }
            for line in details {
                self.say(DESCRIPTION, Align::Left, SMALL, &line);
                self.y += 12.0;
            }
            self.y -= 4.0;
            self.rule(0.5, HAIRLINE);
            self.y += 16.0;
        }
    }

    fn sums(&mut self) {
        let (invoice, language) = (self.invoice, self.language);
        self.need(110.0);
        let base = if invoice.tax_base == invoice.net {
            language.pick("Dasar pengenaan pajak", "Tax base")
        } else {
            language.pick("DPP nilai lain (11/12)", "Tax base, other value (11/12)")
        };
        let rows = [
            (
                language.pick("Harga jual", "Subtotal").to_owned(),
                invoice.net,
            ),
            (base.to_owned(), invoice.tax_base),
            (
                format!(
                    "{} {} %",
                    language.pick("PPN", "VAT (PPN)"),
                    invoice.tax_percent
                ),
                invoice.tax,
            ),
        ];
        for (label, amount) in rows {
            self.say(PRICE, Align::Right, SMALL, &label);
            let amount = words::amount(amount, language);
            self.say(RIGHT, Align::Right, BODY, &amount);
            self.y += 15.0;
        }
        self.y -= 6.0;
        let from = (QUANTITY - 20.0, self.y);
        self.pages.rule(from, (RIGHT, self.y), 0.8, INK);
        self.y += 16.0;
        self.say(PRICE, Align::Right, STRONG, "TOTAL");
        let total = words::amount(invoice.total, language);
        self.say(RIGHT, Align::Right, SUM, &total);
        self.y += 26.0;
    }

    fn remarks(&mut self) {
        let (invoice, language) = (self.invoice, self.language);
        let spelled = format!(
            "{}: {}",
            language.pick("Terbilang", "In words"),
            words::spelled(invoice.total, language)
        );
        let how = match invoice.kind {
            Kind::Invoice => language.pick(
                "Telah dibayar pada tanggal di atas.",
                "Paid on the date above.",
            ),
            Kind::CreditNote => language.pick(
                "Telah dikembalikan ke saldo dompet pada tanggal di atas.",
                "Returned to the wallet balance on the date above.",
            ),
        };
        let tax = language.pick(
            "Dokumen ini bukan Faktur Pajak. Faktur Pajak diterbitkan melalui Coretax DJP.",
            "This is not a tax invoice (Faktur Pajak), which is issued through Coretax.",
        );
        let sandbox = language.pick(
            "AKUN UJI COBA: uang tidak nyata, dan dokumen ini tidak berlaku.",
            "SANDBOX ACCOUNT: the money is not real, and this document is void.",
        );
        let mut remarks = vec![(spelled.as_str(), BODY), (how, SMALL), (tax, SMALL)];
        if invoice.sandbox {
            remarks.push((sandbox, STRONG));
        }
        for (text, style) in remarks {
            for line in pdf::wrap(text, style, RIGHT - LEFT) {
                self.need(14.0);
                self.say(LEFT, Align::Left, style, &line);
                self.y += 13.5;
            }
        }
    }

    /// What stands below on each page.
    fn feet(&mut self) {
        let count = self.pages.count();
        let (invoice, language) = (self.invoice, self.language);
        let page = language.pick("Halaman", "Page");
        let y = HEIGHT - 48.0;
        for at in 0..count {
            let left = format!("{} · {}", invoice.number(), invoice.id);
            let right = format!("{page} {} / {count}", at + 1);
            self.pages.text_on(at, (LEFT, y), Align::Left, SMALL, &left);
            self.pages
                .text_on(at, (RIGHT, y), Align::Right, SMALL, &right);
        }
    }
}

/// What a line sells, and more about it.
fn describe(line: &Line, language: Language) -> (String, Vec<String>) {
    let mut details = Vec::new();
    if let (Some(from), Some(until)) = (line.starts_at, line.ends_at) {
        details.push(format!(
            "{} {} – {}",
            language.pick("Masa sewa", "Period"),
            words::day(from, language),
            words::day(until, language)
        ));
    }
    if line.hostname.is_empty() {
        return (line.description.clone(), details);
    }
    let what = language.pick("Sewa server virtual", "Virtual server");
    details.push(line.description.clone());
    let what = format!("{what} {}, {}", line.plan_name, line.hostname);
    (what, details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::Rupiah;
    use crate::service::invoice::model::tests::example;

    /// `SEWA_KEEP=folder cargo test -p sewa-server document` keeps the documents, to be looked at.
    fn keep(name: &str, bytes: &[u8]) {
        if let Some(folder) = option_env!("SEWA_KEEP") {
            std::fs::write(format!("{folder}/{name}.pdf"), bytes).expect("a file");
        }
    }

    #[test]
    fn a_document_is_drawn_in_both_languages() {
        let mut invoice = example();
        for (language, name) in [(Language::Indonesian, "id"), (Language::English, "en")] {
            let bytes = draw(&invoice, language).expect("a document");
            assert!(bytes.starts_with(b"%PDF-"));
            assert_eq!(bytes, draw(&invoice, language).expect("the same document"));
            keep(&format!("invoice-{name}"), &bytes);
        }
        invoice.kind = Kind::CreditNote;
        invoice.corrects = "INV/202611/000016".to_owned();
        invoice.sandbox = true;
        let bytes = draw(&invoice, Language::Indonesian).expect("a document");
        keep("credit-note", &bytes);
    }

    #[test]
    fn many_lines_need_many_pages() {
        let mut invoice = example();
        let line = invoice.lines[0].clone();
        invoice.lines = (0..60).map(|_| line.clone()).collect();
        invoice.net = Rupiah(line.net.0 * 60);
        let bytes = draw(&invoice, Language::English).expect("a document");
        let pages = bytes.windows(11).filter(|w| w == b"/Type/Page/").count();
        assert!(pages >= 4, "{pages}");
        keep("long", &bytes);
    }
}
