//! PCRE and JavaScript syntax in the words of the parser.

use std::fmt::Write as _;

/// Rewrites a pattern so that the matcher reads it as PCRE and JavaScript do.
pub(super) fn translate(pattern: &str, extended: bool) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    // Position in a class: characters seen since its opening bracket.
    let mut in_class: Option<usize> = None;
    while let Some(next) = chars.next() {
        match (next, in_class) {
            ('\\', _) => {
                translate_escape(chars.next(), &mut chars, in_class.is_some(), &mut out);
                in_class = in_class.map(|seen| seen + 1);
            }
            ('[', None) => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                in_class = Some(0);
            }
            (']', Some(seen)) if seen > 0 => {
                out.push(']');
                in_class = None;
            }
            ('[', Some(_)) if chars.peek() == Some(&':') => {
                out.push('[');
                in_class = Some(1);
                // A named class such as `[:alpha:]` is copied up to its own bracket.
                for named in chars.by_ref() {
                    out.push(named);
                    if named == ']' {
                        break;
                    }
                }
            }
            (special @ ('[' | ']' | '&' | '~' | ' ' | '#'), Some(seen)) => {
                out.push('\\');
                out.push(special);
                in_class = Some(seen + 1);
            }
            (_, Some(seen)) => {
                out.push(next);
                in_class = Some(seen + 1);
            }
            ('#', None) if extended => {
                for comment in chars.by_ref() {
                    if comment == '\n' {
                        break;
                    }
                }
            }
            (space, None) if extended && space.is_ascii_whitespace() => {}
            ('{', None) if !is_quantifier(chars.clone()) => out.push_str("\\{"),
            ('}', None) if !open_quantifier(&out) => out.push_str("\\}"),
            (']', None) => out.push_str("\\]"),
            (_, None) => out.push(next),
        }
    }
    out
}

/// Whether `{` is followed by `n}`, `n,}` or `n,m}`.
fn is_quantifier(rest: impl Iterator<Item = char>) -> bool {
    let mut digits = 0;
    let mut comma = false;
    for next in rest {
        match next {
            '0'..='9' => digits += 1,
            ',' if digits > 0 && !comma => comma = true,
            '}' => return digits > 0,
            _ => return false,
        }
    }
    false
}

/// Whether `out` ends in an opened quantifier, property or group reference that a `}` closes.
fn open_quantifier(out: &str) -> bool {
    let tail = out.rfind('{').map(|at| (&out[..at], &out[at + 1..]));
    tail.is_some_and(|(before, inside)| !before.ends_with('\\') && !inside.contains('}'))
}

fn translate_escape(
    escaped: Option<char>,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) {
    let Some(escaped) = escaped else {
        out.push('\\');
        return;
    };
    let (class, outside) = match escaped {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => (r"\t\n\x0b\x0c\r\x20", r"[\t\n\x0b\x0c\r\x20]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        'S' => (r"[^\t\n\x0b\x0c\r\x20]", r"[^\t\n\x0b\x0c\r\x20]"),
        'b' if in_class => (r"\x08", ""),
        '/' => ("/", "/"),
        '0' => (r"\x00", r"\x00"),
        'u' => {
            let digits: String = chars.clone().take(4).collect();
            match u32::from_str_radix(&digits, 16) {
                Ok(code) if digits.len() == 4 => {
                    let _infallible = write!(out, "\\x{{{code:x}}}");
                    chars.nth(3);
                }
                _ => out.push_str("\\u"),
            }
            return;
        }
        // Needless escapes of letters without a meaning are kept for the compiler to judge.
        other => {
            out.push('\\');
            out.push(other);
            if matches!(other, 'p' | 'P' | 'x' | 'k' | 'g') && chars.next_if_eq(&'{').is_some() {
                out.push('{');
            }
            return;
        }
    };
    out.push_str(if in_class { class } else { outside });
}
