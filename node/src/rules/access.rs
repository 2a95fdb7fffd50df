//! A collection's access document: the mode, and for CUSTOM the rules.
//!
//! `{mode: "READONLY" | "PRIVATE" | "ADMINWRITE" | "ADMINONLY"}` or
//! `{mode: "CUSTOM", rule: {read, write, create, update, delete}}`, each a boolean or an expression; `write` stands
//! for those of `create`, `update`, `delete` that are missing, and what is missing altogether is false. No document
//! means PRIVATE.

use bson::{Bson, Document, RawDocument};

use super::ast::Expression;
use super::parse::RuleError;

/// Collections whose names begin so, or are just this, belong to the system.
const SYSTEM: [&str; 2] = ["_sys", "_cluster"];

/// Whether end users never reach a collection, whatever its access document says.
pub fn is_system(collection: &str) -> bool {
    SYSTEM.iter().any(|name| {
        let rest = collection.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// What a rule allows or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Find and count.
    Read,
    /// Insert, and what an upsert inserts.
    Create,
    /// Update and replace.
    Update,
    /// Remove.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    /// As rules spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Who may do one thing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Permission<'a> {
    /// Every end user.
    Everyone,
    /// The user whose documents they are.
    Owner,
    /// No end user.
    Nobody,
    /// Whoever and whatever fulfils it.
    When(&'a Expression),
}

/// A collection's rules, ready to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub enum Rules {
    /// All read, owners write.
    ReadOnly,
    /// Owners read and write.
    Private,
    /// All read, nobody writes.
    AdminWrite,
    /// Nobody reads or writes.
    AdminOnly,
    /// Rules of its own.
    Custom(Box<CustomRules>),
}

/// The rules of a CUSTOM collection, by action.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomRules([Rule; 4]);

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Constant(bool),
    When(Expression),
}

/// What is wrong with an access document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Its form.
    #[error("{0}")]
    Form(String),
    /// One of its expressions.
    #[error("rule `{name}`, {error}")]
    Expression {
        /// Which.
        name: String,
        /// Where and why.
        error: RuleError,
    },
}

impl Rules {
    /// Reads an access document; an empty one means PRIVATE.
    pub fn parse(access: &RawDocument) -> Result<Self, AccessError> {
        let form = |text: String| AccessError::Form(text);
        let access = Document::try_from(access)
            .map_err(|error| form(format!("the access document is malformed: {error}")))?;
        if access.is_empty() {
            return Ok(Self::Private);
        }
        if let Some(other) = access
            .keys()
            .find(|key| !matches!(key.as_str(), "mode" | "rule"))
        {
            return Err(form(format!(
                "the access document has the member `{other}`; it has `mode` and for CUSTOM `rule`"
            )));
        }
        let rules = match access.get("mode").and_then(Bson::as_str) {
            Some("READONLY") => Self::ReadOnly,
            Some("PRIVATE") => Self::Private,
            Some("ADMINWRITE") => Self::AdminWrite,
            Some("ADMINONLY") => Self::AdminOnly,
            Some("CUSTOM") => {
                let Some(Bson::Document(rule)) = access.get("rule") else {
                    return Err(form(
                        "CUSTOM needs `rule`, an object of rules such as {\"read\": true}".into(),
                    ));
                };
                return Ok(Self::Custom(Box::new(CustomRules::parse(rule)?)));
            }
            _ => {
                return Err(form(
                    "`mode` is one of READONLY, PRIVATE, ADMINWRITE, ADMINONLY, CUSTOM".into(),
                ));
            }
        };
        if access.contains_key("rule") {
            return Err(form("`rule` is for mode CUSTOM; leave it out".into()));
        }
        Ok(rules)
    }

    /// The mode, as access documents spell it.
    pub fn mode(&self) -> &'static str {
        match self {
            Self::ReadOnly => "READONLY",
            Self::Private => "PRIVATE",
            Self::AdminWrite => "ADMINWRITE",
            Self::AdminOnly => "ADMINONLY",
            Self::Custom(_) => "CUSTOM",
        }
    }

    /// Who may do `action`.
    pub fn permission(&self, action: Action) -> Permission<'_> {
        match (self, action) {
            (Self::ReadOnly | Self::AdminWrite, Action::Read)
            | (Self::ReadOnly | Self::Private, Action::Create) => Permission::Everyone,
            (Self::ReadOnly | Self::Private, _) => Permission::Owner,
            (Self::AdminWrite | Self::AdminOnly, _) => Permission::Nobody,
            (Self::Custom(rules), action) => match &rules.0[action as usize] {
                Rule::Constant(true) => Permission::Everyone,
                Rule::Constant(false) => Permission::Nobody,
                Rule::When(expression) => Permission::When(expression),
            },
        }
    }
}

impl CustomRules {
    fn parse(rule: &Document) -> Result<Self, AccessError> {
        if let Some(other) = rule.keys().find(|key| {
            !matches!(
                key.as_str(),
                "read" | "write" | "create" | "update" | "delete"
            )
        }) {
            return Err(AccessError::Form(format!(
                "`rule` has the member `{other}`; it has read, write, create, update, delete"
            )));
        }
        // Parsed even where the finer rules leave it without effect, so that a mistake in it is found.
        let write = Rule::parse(rule, "write")?;
        let fine = |name| -> Result<Rule, AccessError> {
            let own = Rule::parse(rule, name)?;
            Ok(own
                .or_else(|| write.clone())
                .unwrap_or(Rule::Constant(false)))
        };
        Ok(Self([
            Rule::parse(rule, "read")?.unwrap_or(Rule::Constant(false)),
            fine("create")?,
            fine("update")?,
            fine("delete")?,
        ]))
    }
}

impl Rule {
    fn parse(rules: &Document, name: &str) -> Result<Option<Self>, AccessError> {
        match rules.get(name) {
            None => Ok(None),
            Some(Bson::Boolean(constant)) => Ok(Some(Self::Constant(*constant))),
            Some(Bson::String(source)) => match Expression::parse(source) {
                Ok(expression) => Ok(Some(Self::When(expression))),
                Err(error) => Err(AccessError::Expression {
                    name: name.to_owned(),
                    error,
                }),
            },
            Some(_) => Err(AccessError::Form(format!(
                "rule `{name}` is neither a boolean nor an expression in a string"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn parsed(access: &RawDocumentBuf) -> Rules {
        Rules::parse(access).expect("an access document")
    }

    #[test]
    fn no_document_means_private() {
        assert_eq!(parsed(&rawdoc! {}), Rules::Private);
    }

    #[test]
    fn modes_say_who_may_do_what() {
        use Permission::{Everyone, Nobody, Owner};
        for (mode, expected) in [
            ("READONLY", [Everyone, Everyone, Owner, Owner]),
            ("PRIVATE", [Owner, Everyone, Owner, Owner]),
            ("ADMINWRITE", [Everyone, Nobody, Nobody, Nobody]),
            ("ADMINONLY", [Nobody, Nobody, Nobody, Nobody]),
        ] {
            let rules = parsed(&rawdoc! { "mode": mode });
            assert_eq!(rules.mode(), mode);
            assert_eq!(Action::ALL.map(|action| rules.permission(action)), expected);
        }
    }

    #[test]
    fn write_stands_for_what_is_missing_and_nothing_for_false() {
        let rules =
            parsed(&rawdoc! { "mode": "CUSTOM", "rule": { "write": true, "delete": false } });
        assert_eq!(
            Action::ALL.map(|action| rules.permission(action)),
            [
                Permission::Nobody,
                Permission::Everyone,
                Permission::Everyone,
                Permission::Nobody
            ]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (access, part) in [
            (rawdoc! { "mode": "OPEN" }, "READONLY"),
            (rawdoc! { "mode": "CUSTOM" }, "rule"),
            (rawdoc! { "mode": "PRIVATE", "rule": {} }, "leave it out"),
            (rawdoc! { "mode": "PRIVATE", "x": 1 }, "`x`"),
            (
                rawdoc! { "mode": "CUSTOM", "rule": { "reed": true } },
                "`reed`",
            ),
            (
                rawdoc! { "mode": "CUSTOM", "rule": { "read": 1 } },
                "`read`",
            ),
            (
                rawdoc! { "mode": "CUSTOM", "rule": { "write": "doc.a ==" } },
                "rule `write`, at character 9: expected a value, found the end",
            ),
        ] {
            let error = Rules::parse(&access).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn system_collections_are_known_by_name() {
        assert!(is_system("_sys.users") && is_system("_sys"));
        assert!(is_system("_cluster.keys"));
        assert!(!is_system("_system") && !is_system("todo") && !is_system("_clusters"));
    }
}
