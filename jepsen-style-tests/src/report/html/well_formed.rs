//! A strict reader of pages, for tests: every element closes, in order, and nothing is left unescaped.

use std::collections::BTreeSet;

const VOID: [&str; 2] = ["meta", "link"];

/// What a page is made of.
#[derive(Debug, Default)]
pub(in crate::report) struct Page {
    /// Each element's name and attributes, in order.
    pub(in crate::report) elements: Vec<(String, Vec<(String, String)>)>,
    /// All text outside of styles and scripts.
    pub(in crate::report) text: String,
}

impl Page {
    pub(in crate::report) fn count(&self, name: &str) -> usize {
        self.elements
            .iter()
            .filter(|(element, _)| element == name)
            .count()
    }

    pub(in crate::report) fn values(&self, attribute: &str) -> Vec<&str> {
        self.elements
            .iter()
            .flat_map(|(_, attributes)| attributes)
            .filter_map(|(name, value)| (name == attribute).then_some(value.as_str()))
            .collect()
    }
}

/// Reads a page, or says where it is wrong.
pub(in crate::report) fn read(html: &str) -> Result<Page, String> {
    let mut rest = html.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    let mut page = Page::default();
    let mut open: Vec<String> = Vec::new();
    while let Some(at) = rest.find('<') {
        page.text.push_str(&unescape(&rest[..at])?);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('/') {
            let end = after.find('>').ok_or("an end without an end")?;
            let closed = open.pop().ok_or("an end too many")?;
            if closed != after[..end] {
                return Err(format!("<{closed}> ends as </{}>", &after[..end]));
            }
            rest = &after[end + 1..];
            continue;
        }
        let (name, attributes, after) = tag(rest)?;
        rest = after;
        if ["style", "script"].contains(&name.as_str()) {
            let end = rest
                .find(&format!("</{name}>"))
                .ok_or("a script without an end")?;
            rest = &rest[end + name.len() + 3..];
        } else if !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        page.elements.push((name, attributes));
    }
    if !open.is_empty() || !rest.trim().is_empty() {
        return Err(format!("left open: {open:?}"));
    }
    unique(&page.values("id"))?;
    Ok(page)
}

type Tag<'t> = (String, Vec<(String, String)>, &'t str);

fn tag(text: &str) -> Result<Tag<'_>, String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let end = text.find(|letter| !is_name(letter)).unwrap_or(0);
    if end == 0 {
        return Err(format!("a bare < before {:?}", &text[..text.len().min(20)]));
    }
    let (name, mut rest) = text.split_at(end);
    let mut attributes = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((name.to_owned(), attributes, after));
        }
        rest = rest
            .strip_prefix(' ')
            .ok_or_else(|| format!("bad attributes of <{name}>"))?;
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(0);
        let (attribute, after) = rest.split_at(end);
        if attribute.is_empty() || attribute.starts_with("on") {
            return Err(format!("attribute {attribute:?} of <{name}>"));
        }
        rest = after;
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix("=\"") {
            let end = after.find('"').ok_or("a value without an end")?;
            value = unescape(&after[..end])?;
            rest = &after[end + 1..];
        }
        attributes.push((attribute.to_owned(), value));
    }
}

fn unescape(text: &str) -> Result<String, String> {
    if text.contains('>') {
        return Err(format!("a bare > in {text:?}"));
    }
    let mut plain = String::new();
    let mut pieces = text.split('&');
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (entity, after) = piece
            .split_once(';')
            .ok_or_else(|| format!("a bare & before {piece:?}"))?;
        plain.push_str(match entity {
            "lt" => "<",
            "gt" => ">",
            "amp" => "&",
            "quot" => "\"",
            other => return Err(format!("the entity {other:?}")),
        });
        plain.push_str(after);
    }
    Ok(plain)
}

fn unique(ids: &[&str]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(id) => Err(format!("two elements have the id {id:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_wrong_is_found() {
        let wrong = |body: &str| read(&format!("<!DOCTYPE html><p>{body}</p>")).is_err();
        assert!(!wrong(
            "a <b class=\"x\">&lt;b&gt;</b> <meta charset=\"utf-8\">"
        ));
        let cases = [
            "a < b",
            "a > b",
            "a & b",
            "<b>",
            "</b>",
            "<b><i></b></i>",
            "<b onclick=\"x\"></b>",
            "<b id=\"a\"></b><i id=\"a\"></i>",
            "<b title=\"&bad\"></b>",
        ];
        for case in cases {
            assert!(wrong(case), "{case}");
        }
    }
}
