//! Label selectors, in the words of `kubectl -l`: `app=web,tier!=cache,env in (a,b),!canary`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    text: String,
    requirements: Vec<Requirement>,
}

/// One condition. As with Kubernetes, a label that is not there differs from every value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY and !KEY")]
pub struct NoSelector(String);

impl LabelSelector {
    /// Whether these labels meet it.
    pub fn matches(&self, labels: &BTreeMap<Box<str>, Box<str>>) -> bool {
        let has = |key: &str, values: &[String]| {
            labels.get(key).is_some_and(|value| values.iter().any(|wanted| **wanted == **value))
        };
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => has(key, values),
            Requirement::NotIn(key, values) => !has(key, values),
            Requirement::Exists(key) => labels.contains_key(key.as_str()),
            Requirement::Absent(key) => !labels.contains_key(key.as_str()),
        })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LabelSelector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let requirements = split(text).into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), requirements })
    }
}

/// At commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => (),
        }
        c == ',' && depth == 0
    })
    .collect()
}

impl FromStr for Requirement {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let wrong = || NoSelector(text.trim().to_owned());
        let text = text.trim();
        if let Some((left, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            let (key, word) = left.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            return match word.trim() {
                "in" => Ok(Self::In(read_key(key).ok_or_else(wrong)?, values)),
                "notin" => Ok(Self::NotIn(read_key(key).ok_or_else(wrong)?, values)),
                _ => Err(wrong()),
            };
        }
        let one = |key: &str, value: &str| Some((read_key(key)?, vec![read_value(value)?]));
        if let Some((key, value)) = text.split_once("!=") {
            return one(key, value).map(|(key, values)| Self::NotIn(key, values)).ok_or_else(wrong);
        }
        if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return one(key, value).map(|(key, values)| Self::In(key, values)).ok_or_else(wrong);
        }
        match text.strip_prefix('!') {
            Some(key) => read_key(key).map(Self::Absent).ok_or_else(wrong),
            None => read_key(text).map(Self::Exists).ok_or_else(wrong),
        }
    }
}

/// What may stand in a label's key or value, its prefix included.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

fn read_key(text: &str) -> Option<String> {
    let key = text.trim();
    (!key.is_empty() && is_plain(key)).then(|| key.to_owned())
}

fn read_value(text: &str) -> Option<String> {
    is_plain(text.trim()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "web"), ("tier", "front"), ("example.com/canary", "")];
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        selector.parse::<LabelSelector>().unwrap().matches(&labels)
    }

    #[test]
    fn as_kubectl_reads_them() {
        for selector in [
            "app=web",
            "app==web",
            " app = web , tier=front",
            "app!=db",
            "none!=db",
            "app in (db, web)",
            "tier notin (back),app",
            "none notin (a,b)",
            "example.com/canary",
            "example.com/canary=",
            "!none",
        ] {
            assert!(matches(selector), "{selector}");
        }
        for selector in
            ["app=db", "app=web,tier=back", "app!=web", "!app", "none", "none in (a)", "app notin (web)"]
        {
            assert!(!matches(selector), "{selector}");
        }
    }

    #[test]
    fn what_is_none_is_refused_by_name() {
        for selector in
            ["", "app=web,", "=web", "a b", "app in web", "app like (web)", "in (a)", "a=b=c", "!"]
        {
            selector.parse::<LabelSelector>().expect_err(selector);
        }
        let error = "app=web,a b".parse::<LabelSelector>().unwrap_err().to_string();
        assert!(error.starts_with("\"a b\" is none of KEY=VALUE"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            drop(text.parse::<LabelSelector>());
        }
    }
}
