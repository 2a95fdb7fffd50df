//! PCRE and JavaScript syntax, flags, prefixes.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use super::pattern::Pattern;

fn matches(pattern: &str, flags: &str, text: &str) -> bool {
    Pattern::compile(pattern, flags)
        .unwrap()
        .matches_text(text)
        .unwrap()
}

#[test]
fn flags() {
    assert!(matches("abc", "i", "xABCx"));
    assert!(matches("É", "i", "é"));
    assert!(!matches("^b", "", "a\nb"));
    assert!(matches("^b$", "m", "a\nb\nc"));
    assert!(!matches("a.b", "", "a\nb"));
    assert!(matches("a.b", "s", "a\nb"));
    assert!(matches("a b # comment\n c", "x", "abc"));
    assert!(matches("[ #]", "x", "#"));
    assert!(matches("a", "giuy", "A"));
    assert!(Pattern::compile("a", "z").is_err());
}

#[test]
fn classes_are_ascii() {
    assert!(matches(r"^\d+$", "", "123"));
    assert!(!matches(r"\d", "", "١"));
    assert!(!matches(r"\w", "", "é"));
    assert!(matches(r"\W", "", "é"));
    assert!(matches(r"[\d.-]+", "", "1.5-2"));
    assert!(matches(r"[^\s]", "", "x"));
    assert!(!matches(r"^[^\s]+$", "", " \t\n"));
    assert!(matches(r"[\D]", "", "x"));
    assert!(!matches(r"[\D]", "", "7"));
    assert!(matches(r"\bcat\b", "", "a cat sat"));
    assert!(!matches(r"\bcat\b", "", "concat"));
    assert!(matches(r"\bcat\b", "", "这cat是"));
    assert!(matches(r"n\Bc", "", "concat"));
    assert!(!matches(r"a\B ", "", "a b"));
}

#[test]
fn literal_brackets_and_braces() {
    assert!(matches("a{", "", "a{"));
    assert!(matches("{x}", "", "{x}"));
    assert!(matches("a{2}", "", "aa"));
    assert!(matches("a{2,}b", "", "aaab"));
    assert!(matches("]", "", "]"));
    assert!(matches("[]a]", "", "]"));
    assert!(matches("[[]", "", "["));
    assert!(matches("[&&~]", "", "&"));
    assert!(matches("[[:alpha:]]+", "", "abc"));
    assert!(matches(r"[\]]", "", "]"));
    assert!(matches(r"\{\}\[\]", "", "{}[]"));
}

#[test]
fn javascript_escapes() {
    assert!(matches(r"a\/b", "", "a/b"));
    assert!(matches(r"\u4e2d", "", "中"));
    assert!(matches(r"[\u4e00-\u9fa5]", "", "中"));
    assert!(matches(r"\x41", "", "A"));
    assert!(matches(r"a\.b\-c\@", "", "a.b-c@"));
    assert!(matches(r"[\w\-\.]+@", "", "a-b.c@"));
    assert!(matches(r"\t\n", "", "\t\n"));
    assert!(matches(r"\p{L}", "", "é"));
}

#[test]
fn assertions_and_references() {
    assert!(matches("foo(?=bar)", "", "foobar"));
    assert!(!matches("foo(?!bar)", "", "foobar"));
    assert!(matches("(?<=a)b", "", "ab"));
    assert!(matches(r"(\w)\1", "", "hello"));
    assert!(matches(r"(?<year>\d{4})-\k<year>", "", "2024-2024"));
    assert!(matches("(?:ab)+c", "", "ababc"));
    assert!(matches("(?i)ABC", "", "abc"));
}

#[test]
fn literal_prefixes_are_sound() {
    let prefix =
        |pattern: &str, flags: &str| Pattern::compile(pattern, flags).unwrap().literal_prefix();
    assert_eq!(prefix("^abc", ""), "abc");
    assert_eq!(prefix("^abc$", ""), "abc");
    assert_eq!(prefix("^ab.c", ""), "ab");
    assert_eq!(prefix("^abc*", ""), "ab");
    assert_eq!(prefix("^abc?", ""), "ab");
    assert_eq!(prefix("^abc{0,2}", ""), "ab");
    assert_eq!(prefix("^abc+", ""), "abc");
    assert_eq!(prefix(r"^a\.b", ""), "a.b");
    assert_eq!(prefix(r"^a\db", ""), "a");
    assert_eq!(prefix("^中文", ""), "中文");
    for (pattern, flags) in [
        ("^ab|c", ""),
        ("^ab", "i"),
        ("^ab", "m"),
        ("^ab", "x"),
        ("ab", ""),
        ("(^ab)", ""),
    ] {
        assert_eq!(prefix(pattern, flags), "", "{pattern}");
    }
}

#[test]
fn hostile_patterns_are_refused_or_bounded() {
    for pattern in [
        "(".repeat(16_000) + &")".repeat(16_000),
        "(?:".repeat(10_000) + "a" + &")".repeat(10_000),
        "[".repeat(30_000),
    ] {
        assert!(Pattern::compile(&pattern, "").is_err());
    }
    for pattern in [
        "a{1000}{1000}{1000}b",
        "(?:(?:x{1000}){1000}){1000}",
        "(?:a?){1000}a{1000}b",
    ] {
        if let Ok(pattern) = Pattern::compile(pattern, "") {
            let _matched_or_refused = pattern.matches_text(&"a".repeat(2_000));
        }
    }
    let text = "a".repeat(50_000);
    assert!(!matches("^(a+)+$b", "", &text));
    let slow = Pattern::compile(r"^(?:(a|aa)+)\1(?=b)b$", "").unwrap();
    assert!(slow.matches_text(&format!("{text}bc")).is_err());
    for pattern in [
        r"\",
        "(?",
        "[a",
        "*",
        "(?<",
        r"\u12",
        r"\p{",
        "a{9999999999}",
    ] {
        let _refused_or_compiled = Pattern::compile(pattern, "imsx");
    }
}
