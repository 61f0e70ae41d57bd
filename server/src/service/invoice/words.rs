//! Amounts, numbers and dates in the words and forms of Indonesian and English.

use chrono::{DateTime, Datelike, Utc};

use crate::base::money::Rupiah;
use crate::base::time;
use crate::service::invoice::document::Language;

const MONTHS: [[&str; 12]; 2] = [
    [
        "Januari",
        "Februari",
        "Maret",
        "April",
        "Mei",
        "Juni",
        "Juli",
        "Agustus",
        "September",
        "Oktober",
        "November",
        "Desember",
    ],
    [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
];

/// A day in Jakarta: `21 November 2026`.
pub fn day(at: DateTime<Utc>, language: Language) -> String {
    let day = time::jakarta(at).date_naive();
    let months = MONTHS[language as usize];
    let month = usize::try_from(day.month0()).unwrap_or_default();
    format!("{} {} {}", day.day(), months[month], day.year())
}

/// An amount with its thousands apart: `Rp 1.250.000` in Indonesian, `Rp 1,250,000` in English.
pub fn amount(amount: Rupiah, language: Language) -> String {
    let digits = amount.0.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(match language {
                Language::Indonesian => '.',
                Language::English => ',',
            });
        }
        grouped.push(digit);
    }
    let sign = if amount.0 < 0 { "-" } else { "" };
    format!("{sign}Rp {grouped}")
}

/// An amount in words, with the currency: what an Indonesian document calls terbilang. Not negative.
pub fn spelled(amount: Rupiah, language: Language) -> String {
    let number = amount.0.unsigned_abs();
    let words = match (number, language) {
        (0, Language::Indonesian) => "nol".to_owned(),
        (0, Language::English) => "zero".to_owned(),
        (_, Language::Indonesian) => indonesian(number).join(" "),
        (_, Language::English) => english(number).join(" "),
    };
    let mut letters = words.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    let words: String = first.into_iter().chain(letters).collect();
    format!("{words} rupiah")
}

const SCALES: [(u64, &str, &str); 5] = [
    (1_000_000_000_000_000, "kuadriliun", "quadrillion"),
    (1_000_000_000_000, "triliun", "trillion"),
    (1_000_000_000, "miliar", "billion"),
    (1_000_000, "juta", "million"),
    (1000, "ribu", "thousand"),
];

fn indonesian(number: u64) -> Vec<&'static str> {
    const UNITS: [&str; 12] = [
        "", "satu", "dua", "tiga", "empat", "lima", "enam", "tujuh", "delapan", "sembilan",
        "sepuluh", "sebelas",
    ];
    let unit = |n: u64| UNITS[usize::try_from(n).unwrap_or_default()];
    for (scale, name, _) in SCALES {
        if number >= scale {
            let mut words = match number / scale {
                // A thousand is one word; a million is not.
                1 if scale == 1000 => vec!["seribu"],
                count => [indonesian(count), vec![name]].concat(),
            };
            words.extend(indonesian(number % scale));
            return words;
        }
    }
    match number {
        0 => Vec::new(),
        1..=11 => vec![unit(number)],
        12..=19 => vec![unit(number - 10), "belas"],
        20..=99 => [vec![unit(number / 10), "puluh"], indonesian(number % 10)].concat(),
        100..=199 => [vec!["seratus"], indonesian(number - 100)].concat(),
        _ => [vec![unit(number / 100), "ratus"], indonesian(number % 100)].concat(),
    }
}

fn english(number: u64) -> Vec<&'static str> {
    const UNITS: [&str; 20] = [
        "",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] = [
        "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let word = |words: &[&'static str], n: u64| words[usize::try_from(n).unwrap_or_default()];
    for (scale, _, name) in SCALES {
        if number >= scale {
            return [english(number / scale), vec![name], english(number % scale)].concat();
        }
    }
    match number {
        0 => Vec::new(),
        1..=19 => vec![word(&UNITS, number)],
        20..=99 => [vec![word(&TENS, number / 10)], english(number % 10)].concat(),
        _ => [
            vec![word(&UNITS, number / 100), "hundred"],
            english(number % 100),
        ]
        .concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_spelled() {
        for (number, indonesian, english) in [
            (0, "Nol rupiah", "Zero rupiah"),
            (11, "Sebelas rupiah", "Eleven rupiah"),
            (19, "Sembilan belas rupiah", "Nineteen rupiah"),
            (110, "Seratus sepuluh rupiah", "One hundred ten rupiah"),
            (1000, "Seribu rupiah", "One thousand rupiah"),
            (
                87_690,
                "Delapan puluh tujuh ribu enam ratus sembilan puluh rupiah",
                "Eighty seven thousand six hundred ninety rupiah",
            ),
            (
                1_001_100,
                "Satu juta seribu seratus rupiah",
                "One million one thousand one hundred rupiah",
            ),
            (
                21_000_000_012,
                "Dua puluh satu miliar dua belas rupiah",
                "Twenty one billion twelve rupiah",
            ),
        ] {
            assert_eq!(spelled(Rupiah(number), Language::Indonesian), indonesian);
            assert_eq!(spelled(Rupiah(number), Language::English), english);
        }
    }

    #[test]
    fn amounts_and_days_are_written_as_their_readers_do() {
        let at = "2026-05-20T17:00:00Z".parse().expect("a time");
        assert_eq!(day(at, Language::Indonesian), "21 Mei 2026");
        assert_eq!(day(at, Language::English), "21 May 2026");
        let million = Rupiah(-1_250_000);
        assert_eq!(amount(million, Language::Indonesian), "-Rp 1.250.000");
        assert_eq!(amount(million, Language::English), "-Rp 1,250,000");
        assert_eq!(amount(Rupiah(500), Language::English), "Rp 500");
    }
}
