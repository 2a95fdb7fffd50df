//! Bounds of the work of regular expressions, and what stays possible within them.

#![allow(clippy::unwrap_used)]

use bson::{RawDocumentBuf, doc, rawdoc};

use super::{Matcher, Pattern, WorkScope, work};
use crate::error::ErrorCode;
use crate::filter::{Filter, FilterContext};
use crate::limits::REGEX_WORK_MAX;
use crate::update::{Update, UpdateContext};

/// A text of a and b without a pattern, the same each time.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    (0..length)
        .map(|_| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            if state < 1 << 30 { 'a' } else { 'b' }
        })
        .collect()
}

fn compile(pattern: &str) -> Pattern {
    Pattern::compile(pattern, "").unwrap()
}

/// Steps taken on one text, and whether it matched; `None` when there were too few.
fn steps(pattern: &str, text: &str) -> (u64, Option<bool>) {
    let pattern = compile(pattern);
    let _shared = WorkScope::open();
    let found = pattern.matches_text(text);
    if let Err(error) = &found {
        assert_eq!(error.code, ErrorCode::ExceedBudget);
        assert!(error.message.contains("regular expression"), "{error}");
    }
    (REGEX_WORK_MAX - work::left(), found.ok())
}

/// A smaller budget with smaller texts shows the same in less time.
const SMALL_WORK_MAX: u64 = 1 << 20;

#[test]
fn work_on_one_text_is_bounded() {
    let short = noise(2048);
    // Each repeats the work of the whole text at each position, or tries exponentially many ways.
    for (pattern, text) in [
        ("(?=[ab]*a[ab]{200}c)x", short.as_str()),
        ("(?<=c[ab]{200}a[ab]*)x", &short),
        ("[ab]*a[ab]{400}c", &short),
        (r"^(?:(a|aa)+)\1(?=b)b$", &"a".repeat(50_000)),
        (r"^(a|aa)+\1$", &format!("{}!", "a".repeat(40))),
        (r"(a*)*\1b", &"a".repeat(40)),
        (r"(.*)(.*)(.*)(.*)\1\2\3\4x", &short),
        (r"(?:(?:a|a)+(?=b))+c", &"a".repeat(60)),
        (r"(?=(a+)+$)", &format!("{}!", "a".repeat(60))),
        (r"(?i)(é*)*\1!", &"É".repeat(40)),
        (r"(?:a(?!b)|a)*c", &"a".repeat(100_000)),
    ] {
        let pattern = compile(pattern);
        let _small = WorkScope::of(SMALL_WORK_MAX);
        let error = pattern.matches_text(text).unwrap_err();
        assert_eq!(error.code, ErrorCode::ExceedBudget);
        assert!(error.message.contains("regular expressions"), "{error}");
    }
}

#[test]
fn work_without_a_scope_is_bounded() {
    let error = compile("[ab]*a[ab]{4000}c")
        .matches_text(&noise(1 << 16))
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::ExceedBudget);
}

#[test]
fn open_alternatives_are_bounded() {
    let text = "ab".repeat(2 << 20);
    let (steps, found) = steps(r"^(?:ab(?!c))+$", &text);
    assert_eq!(found, None);
    assert!(steps < REGEX_WORK_MAX, "{steps}");
}

#[test]
fn the_same_work_is_counted_each_time() {
    for (pattern, text) in [
        ("a[ab]{5}c", noise(1000)),
        (r"(a|b)+\1{3}c", noise(20)),
        ("^(?=.*x)", noise(1000)),
    ] {
        let first = steps(pattern, &text);
        for _ in 0..3 {
            assert_eq!(steps(pattern, &text), first, "{pattern}");
        }
    }
}

#[test]
fn usual_patterns_stay_far_below_the_bounds() {
    let words = "the quick brown fox jumps over the lazy dog; ".repeat(23);
    let tagged = format!("{words}<b>{words}</b>");
    let password = "correct-Horse9battery!staple";
    let chinese = "这是一个用来测试正则表达式的文本，里面有很多字。".repeat(14);
    for (pattern, text, expected) in [
        ("^the quick", words.as_str(), true),
        ("fox|cat|bird", &words, true),
        ("cat|bird|fish", &words, false),
        (".*fox.*dog", &words, true),
        (".*fox.*cat", &words, false),
        (r"\bfox\b", &words, true),
        (r"\bfo\b", &words, false),
        (r"^(?=.*[A-Z])(?=.*\d)(?=.*[!@#$]).{12,}$", password, true),
        (r"^(?=.*[A-Z])(?=.*\d)(?=.*[%&]).{12,}$", password, false),
        ("^(?!.*cat).*dog", &words, true),
        ("^(?!.*fox).*dog", &words, false),
        (r"<b>(?:(?!</b>).)*</b>", &tagged, true),
        (r"<b>(?:(?!</b>).)*</i>", &tagged, false),
        (r"^(?:(?!cat).)*$", &words, true),
        (r"(\w)\1", &words, false),
        (r"(\w+) \w+ \1", &words, false),
        ("正则表达式(?=的文本)", &chinese, true),
        (r"^[\u4e00-\u9fa5，。]+$", &chinese, true),
        (r"\p{Han}+。$", &chinese, true),
        ("(?<!很)多字", &chinese, false),
        (
            r"^[\w.+-]+@[\w-]+\.[\w.-]+$",
            "some.body+tag@mail.example.com",
            true,
        ),
        (r"^1[3-9]\d{9}$", "13812345678", true),
    ] {
        let (steps, found) = steps(pattern, text);
        assert_eq!(found, Some(expected), "{pattern}");
        assert!(steps < REGEX_WORK_MAX / 20, "{pattern}: {steps}");
    }
    // Also on long texts.
    let long = words.repeat(1000);
    for pattern in [
        "^the",
        "cat",
        "fox.*cat",
        "(?i)CAT",
        r"\bcat\b",
        "cat(?!s)",
        "^(?=.*fox)the",
    ] {
        let (steps, found) = steps(pattern, &long);
        assert!(found.is_some(), "{pattern}: {steps}");
    }
}

fn filter(filter: &bson::Document) -> Filter {
    let filter = RawDocumentBuf::try_from(filter).unwrap();
    Filter::parse(&filter, &FilterContext::default()).unwrap()
}

#[test]
fn all_texts_of_a_document_share_the_work() {
    let texts: Vec<String> = (0..2000).map(|_| format!("{}!", "a".repeat(18))).collect();
    let document = RawDocumentBuf::try_from(&doc! { "s": texts }).unwrap();
    for pattern in [r"^(a|aa)+\1$", "(?=[ab]*a[ab]{200}c)x|^(?:a|a(?!c))*$"] {
        // One of them is no matter.
        assert!(
            compile(pattern)
                .matches_text(&format!("{}!", "a".repeat(18)))
                .is_ok()
        );
        for condition in [
            doc! { "s": { "$regex": pattern } },
            doc! { "s": { "$not": { "$regex": pattern } } },
            doc! { "s": { "$in": [bson::Regex { pattern: pattern.try_into().unwrap(), options: "".try_into().unwrap() }] } },
            doc! { "s": { "$elemMatch": { "$regex": pattern } } },
            doc! { "$nor": [{ "s": { "$regex": pattern } }] },
            doc! { "$expr": { "$anyElementTrue": { "$map": { "input": "$s", "in": { "$regexMatch": { "input": "$$this", "regex": pattern } } } } } },
        ] {
            let filter = filter(&condition);
            let _small = WorkScope::of(SMALL_WORK_MAX);
            let error = filter.matches(&document).unwrap_err();
            assert_eq!(error.code, ErrorCode::ExceedBudget, "{condition}");
        }
    }
    // The next document has its own.
    let scan = filter(&doc! { "s": { "$regex": r"^(a|aa)+\1$" } });
    assert!(scan.matches(&document).is_err());
    assert!(!scan.matches(&rawdoc! { "s": "aaa!" }).unwrap());
}

#[test]
fn all_elements_of_a_pull_share_the_work() {
    let texts: Vec<String> = (0..2000).map(|_| format!("{}!", "a".repeat(18))).collect();
    let document = RawDocumentBuf::try_from(&doc! { "s": texts }).unwrap();
    let pull = doc! { "$pull": { "s": { "$regex": r"^(a|aa)+\1$" } } };
    let pull = RawDocumentBuf::try_from(&pull).unwrap();
    let update = Update::parse(&pull, &UpdateContext { now_ms: 0 }).unwrap();
    let _small = WorkScope::of(SMALL_WORK_MAX);
    let error = update.apply(&document, false).unwrap_err();
    assert_eq!(error.code, ErrorCode::ExceedBudget);
}

#[test]
fn a_scope_inside_another_shares_its_budget() {
    let pattern = compile(r"^(a|aa)+\1$");
    let text = format!("{}!", "a".repeat(20));
    let cost = {
        let _alone = WorkScope::open();
        assert!(!pattern.matches_text(&text).unwrap());
        REGEX_WORK_MAX - work::left()
    };
    let _outer = WorkScope::open();
    for times in 1..4 {
        let _inner = WorkScope::open();
        assert!(!pattern.matches_text(&text).unwrap());
        assert_eq!(work::left(), REGEX_WORK_MAX - times * cost);
    }
}

#[test]
fn compiling_is_counted() {
    let shared = WorkScope::open();
    let words: Vec<String> = (0..4000).map(|n| format!("q{n}")).collect();
    let before = work::left();
    compile(&words.join("|"));
    assert!(before - work::left() > 1_000_000);
    drop(shared);
    let _small = WorkScope::of(SMALL_WORK_MAX);
    let error = Pattern::compile(&words.join("|"), "").unwrap_err();
    assert_eq!(error.code, ErrorCode::ExceedBudget);
}

#[test]
fn engines_are_chosen_by_need() {
    for (pattern, is_linear) in [
        (r"\bcat\b", true),
        (r"(a|b)*c{2,}?$", true),
        (r"(?i)\w+é\B", true),
        ("(?:a{2,3}){4}", true),
        ("a(?=b)", false),
        (r"(a)\1", false),
        ("(?>a+)b", false),
        ("a++b", false),
        (r"a\Z", false),
    ] {
        let matcher = compile(pattern).matcher;
        assert_eq!(
            matches!(matcher, Matcher::Linear(_)),
            is_linear,
            "{pattern}"
        );
    }
}

#[test]
fn what_the_machine_does_not_run_is_refused_by_name() {
    for (pattern, why) in [
        (r"(a|b\g<1>)", "call of a group"),
        ("a(*SKIP)b", "backtracking verb"),
        ("(?~abc)", "absent operator"),
        (r"(?=a)\2", "group 2"),
        (r"(?=[\p{Nonsense}])", "class ["),
        ("(?:(?:ab(?=c)){1000}){1000}", "repetitions written out"),
        (
            "(?:(?:(?:a(?=b)){0}){99999}){99999}",
            "repetitions written out",
        ),
    ] {
        let error = Pattern::compile(pattern, "").unwrap_err();
        assert!(error.message.contains(why), "{pattern}: {error}");
    }
}

#[test]
fn rarer_syntax_of_the_machine() {
    for (pattern, text, expected) in [
        (r"(?<=a{1,3})b", "aab", true),
        (r"(?<=^a+)b", "aaab", true),
        (r"(?<=^a+)b", "caab", false),
        (r"(?<!\d{3})x", "12x", true),
        (r"(?<!\d{3})x", "123x", false),
        (r"^(a)?(?(1)b|c)$", "ab", true),
        (r"^(a)?(?(1)b|c)$", "c", true),
        (r"^(a)?(?(1)b|c)$", "ac", false),
        (r"^(?>a|ab)c", "abc", false),
        (r"(?i)(é)x\1", "Éxé", true),
        (r"(?i)(straße)\1", "straßeSTRAßE", true),
        (r"(a)(?=b)\R", "ab\r\n", false),
        (r"(?=a)a\Rb", "a\r\nb", true),
        (r"(?=a)a\R\n", "a\r\n", false),
        (r"(?=a)a\Z", "a\n\n", true),
        (r"(?m)^(?=b)b$", "a\nb\nc", true),
        (r"(?=é)\bé", "é", false),
        (r"(?:(?=a)a|b){2,3}?c", "abac", true),
        (r"(?=.)[^b]*?c", "aac", true),
        (r"(?:(?:)|(?=a))*b", "ab", true),
        (r"(?P<q>['x]).*?\k<q>", "a 'b' c", true),
    ] {
        assert_eq!(
            compile(pattern).matches_text(text).unwrap(),
            expected,
            "{pattern} on {text}"
        );
    }
}
