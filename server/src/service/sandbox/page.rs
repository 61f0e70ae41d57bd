//! The page of a sandbox deposit, as HTML. It needs no script and nothing from elsewhere. Nothing on it was written by a person, and all of it is escaped.

use crate::base::money::Rupiah;
use crate::service::invoice::document::Language;
use crate::service::invoice::words;
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::payment::{Kind, Payment};
use crate::service::wallet::play;

/// Its style sheet.
pub const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 34rem; }
h1 { font-size: 1.4rem; margin: 0; }
.note { opacity: .75; margin: .25rem 0 1.5rem; }
.due { font-size: 2rem; font-weight: 700; margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 1rem 0 2rem; overflow-wrap: anywhere; }
dt { opacity: .75; } dd { margin: 0; }
form { border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .5rem; padding: 1rem; margin: 0 0 1rem; }
label { display: block; font-weight: 600; margin-bottom: .25rem; }
input { font: inherit; padding: .5rem; width: 100%; box-sizing: border-box; margin-bottom: .75rem; }
button { font: inherit; font-weight: 600; padding: .6rem 1rem; border-radius: .4rem; border: 1px solid currentColor; cursor: pointer; width: 100%; }
.pay button { background: #115e75; border-color: #115e75; color: #fff; }
.said { border-left: .3rem solid #b45309; padding: .5rem 1rem; margin: 0 0 1.5rem; }
";

/// Draws the page. `said` is what speaks against the last thing that was tried.
pub fn draw(deposit: &Deposit, known: &[Payment], said: Option<&str>) -> String {
    let came = play::numbered(known);
    let mut body = format!(
        "<h1>Sandbox payment</h1>\n<p class=\"note\">Play money: nothing is charged to anybody.</p>\n<p class=\"due\">{}</p>\n",
        rupiah(deposit.amount)
    );
    if let Some(said) = said {
        body += &format!("<p class=\"said\" role=\"alert\">{}</p>\n", escape(said));
    }
    let order = deposit.order.map(|order| order.to_string());
    let facts = [
        ("State", Some(deposit.state.as_str().to_owned())),
        ("Deposit", Some(deposit.id.to_string())),
        ("For order", order),
        ("Can be paid until", Some(deposit.expires_at.to_rfc3339())),
    ];
    body += "<dl>\n";
    for (name, fact) in facts {
        if let Some(fact) = fact {
            body += &format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&fact));
        }
    }
    for payment in known {
        body += &format!(
            "<dt>{}</dt><dd>{}</dd>\n",
            kind(payment),
            rupiah(payment.paid)
        );
    }
    body += "</dl>\n";
    let amount = |label: &str, value: Rupiah| {
        format!(
            "<label>{label}<input name=\"amount\" inputmode=\"numeric\" pattern=\"[0-9]{{1,10}}\" required value=\"{}\"></label>",
            value.0
        )
    };
    let again = if came.is_empty() { "Pay" } else { "Pay again" };
    let number = came.len();
    body += &form(
        "pay",
        &format!(
            "{}{}",
            amount("Rupiah to pay", deposit.amount),
            hidden("number", number)
        ),
        again,
    );
    for (number, (payment, back)) in came.iter().enumerate() {
        let left = Rupiah(payment.paid.0 - back.0);
        if left > Rupiah::ZERO {
            let fields = format!(
                "{}{}{}",
                amount("Rupiah to take back", left),
                hidden("number", number),
                hidden("before", back.0)
            );
            body += &form("take_back", &fields, "Take back");
        }
    }
    if deposit.state.is_open() {
        body += &form("expire", "", "Let it expire");
        body += &form("fail", "", "Refuse it");
    }
    whole("Sandbox payment", &body)
}

/// A page that says something, and nothing else.
pub fn say(title: &str, text: &str) -> String {
    let (title, text) = (escape(title), escape(text));
    whole(&title, &format!("<h1>{title}</h1>\n<p>{text}</p>\n"))
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <title>{title}</title>\n<link rel=\"stylesheet\" href=\"{}.css\">\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        play::PATH
    )
}

fn form(action: &str, fields: &str, button: &str) -> String {
    format!(
        "<form method=\"post\" class=\"{action}\">{fields}<button name=\"action\" value=\"{action}\">{button}</button></form>\n"
    )
}

fn hidden(name: &str, value: impl std::fmt::Display) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
}

fn rupiah(amount: Rupiah) -> String {
    words::amount(amount, Language::English)
}

fn kind(payment: &Payment) -> &'static str {
    match payment.kind {
        kind if kind == Kind::Reversal as i16 => "Taken back",
        kind if kind == Kind::Underpaid as i16 => "Paid, too little",
        kind if kind == Kind::Overpaid as i16 => "Paid, too much",
        kind if kind == Kind::Late as i16 => "Paid, too late",
        kind if kind == Kind::Duplicate as i16 => "Paid again",
        _ => "Paid",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
