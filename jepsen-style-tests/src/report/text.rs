//! Numbers, times and values as people read them.

use std::fmt::{self, Write};

use crate::history::Value;

/// 12345 as `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 operation`, `2 operations`.
pub(super) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    let stem = match noun.strip_suffix('y') {
        Some(stem) if number != 1 => return format!("{} {stem}ies", count(number)),
        _ => noun,
    };
    format!("{} {stem}{ending}", count(number))
}

/// Nanoseconds with three figures and a unit that fits.
pub(super) fn time(nanoseconds: u64) -> String {
    let (unit, name) = match nanoseconds {
        0 => return "0 s".to_owned(),
        1..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        1_000_000_000..600_000_000_000 => (1e9, "s"),
        _ => (60e9, "min"),
    };
    let number = nanoseconds as f64 / unit;
    let decimals = match number {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} {name}")
}

/// A text of at most `letters` letters.
pub(super) fn clip(text: &str, letters: usize) -> String {
    let mut clipped = Clipped::new(letters);
    // An error says that the text is full, which is what was asked for.
    let _ = clipped.write_str(text);
    clipped.text
}

/// A value as EDN, but with plain words: histories that were read back from JSON have no keywords any more.
pub(super) fn value(value: &Value, letters: usize) -> String {
    let mut clipped = Clipped::new(letters);
    let _ = write_value(&mut clipped, value);
    clipped.text
}

/// Stops early, so that a value of a million elements costs no more than what is shown of it.
struct Clipped {
    text: String,
    left: usize,
}

impl Clipped {
    fn new(letters: usize) -> Self {
        Self {
            text: String::new(),
            left: letters,
        }
    }
}

impl Write for Clipped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.left == 0 {
                self.text.push('…');
                return Err(fmt::Error);
            }
            self.text.push(letter);
            self.left -= 1;
        }
        Ok(())
    }
}

fn write_value(out: &mut Clipped, value: &Value) -> fmt::Result {
    match value {
        Value::Text(word) | Value::Keyword(word) => {
            let plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
            match !word.is_empty() && word.chars().all(plain) {
                true => out.write_str(word),
                false => write!(out, "{word:?}"),
            }
        }
        Value::List(values) => {
            out.write_str("[")?;
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.write_str(" ")?;
                }
                write_value(out, value)?;
            }
            out.write_str("]")
        }
        Value::Map(members) => {
            out.write_str("{")?;
            for (at, (key, value)) in members.iter().enumerate() {
                out.write_str(if at > 0 { ", " } else { "" })?;
                write!(out, "{key} ")?;
                write_value(out, value)?;
            }
            out.write_str("}")
        }
        Value::Nil | Value::Bool(_) | Value::Int(_) => write!(out, "{value}"),
    }
}

/// Lines of at most `letters` letters, broken at spaces where there are any; at most `lines_max` of them.
pub(super) fn wrap(text: &str, letters: usize, lines_max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        for (at, piece) in word.chars().collect::<Vec<_>>().chunks(letters).enumerate() {
            let space = usize::from(length > 0 && at == 0);
            if length + space + piece.len() > letters {
                lines.push(String::new());
                length = 0;
            }
            let last = lines.len() - 1;
            if length > 0 && at == 0 {
                lines[last].push(' ');
                length += 1;
            }
            lines[last].extend(piece);
            length += piece.len();
        }
        if lines.len() > lines_max {
            lines.truncate(lines_max);
            lines[lines_max - 1].push('…');
            break;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "anomaly"), "1 anomaly");
        assert_eq!(plural(2, "anomaly"), "2 anomalies");
        assert_eq!(plural(1_000, "operation"), "1,000 operations");
        let times = [
            0,
            4_200,
            1_234_567,
            45_000_000,
            999_000_000,
            1_500_000_000,
            5_400_000_000_000,
        ];
        assert_eq!(
            times.map(time),
            [
                "0 s", "4.2 µs", "1.23 ms", "45 ms", "999 ms", "1.5 s", "90 min"
            ]
        );
    }

    #[test]
    fn values_are_plain_and_bounded() {
        let list = Value::List(vec![
            Value::keyword("append"),
            Value::Int(3),
            Value::Nil,
            Value::Text("two words".into()),
        ]);
        assert_eq!(value(&list, 80), r#"[append 3 nil "two words"]"#);
        let read_back = Value::from_json(&list.to_json());
        assert_eq!(value(&read_back, 80), value(&list, 80));
        let map = Value::Map(vec![
            ("a".into(), Value::Int(1)),
            ("b".into(), Value::Bool(true)),
        ]);
        assert_eq!(value(&map, 80), "{a 1, b true}");
        assert_eq!(value(&Value::ints(0..1_000_000), 8), "[0 1 2 3…");
        assert_eq!(clip("änderung", 3), "änd…");
        assert_eq!(clip("abc", 3), "abc");
    }

    #[test]
    fn lines_break_at_spaces_and_end() {
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4, 9), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("a b c d", 1, 2), ["a", "b…"]);
        assert_eq!(wrap("", 5, 2), [""]);
    }
}
