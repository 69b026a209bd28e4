//! Which signing secret does the function take from a stored value, or why does it take none?
//!
//! These are the rules and the texts of the function's `src/secret.rs`, so that `doctor` never accepts what the function
//! refuses, and the runbook's table of errors applies. They are written again because that file needs the SDK's client.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::delivery::DEVELOPMENT_SECRET;

/// The text that the template gives to a new secret.
const PLACEHOLDER: &str = "paste-the-signing-secret-here";

/// The prefixes of a signing secret, and of Ed25519's private and public keys.
const KEY_PREFIXES: [&str; 3] = ["whsec_", "whsk_", "whpk_"];

/// The fewest characters of base64 that can encode a key.
const SHORTEST_ENCODED_KEY: usize = 32;

/// The most characters of a member's name that are shown.
const LONGEST_SHOWN_NAME: usize = 64;

/// The most members that one error lists.
const MOST_LISTED_MEMBERS: usize = 10;

// What to do about an unusable value. The command replaces the whole value, so it isn't for JSON.
pub(super) const SET: &str = "Store the endpoint's signing secret with the command in the output SetSecretCommand";
const CORRECT: &str = "Correct the value, for example in the AWS console, and keep the members that aren't Scalekit's";
const NAME: &str = "Name Scalekit's member at the end of the stack's parameter ExistingSecretArn, as in \
                               `…:secret:NAME-AbCdEf:MEMBER::`, and deploy the stack again";
const RENAME: &str = "Correct the member's name at the end of the stack's parameter ExistingSecretArn and deploy the stack \
                      again, or store the signing secret in that member";

/// Why the function can't use a value, without any part of a secret, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) why: String,
    pub(super) advice: &'static str,
}

impl Unusable {
    fn new(why: impl Into<String>, advice: &'static str) -> Self {
        Self { why: why.into(), advice }
    }
}

/// The first signing secret that the function accepts: from a list, or from the JSON object's only member that starts with one.
/// If several members do, `member` has to name one of them.
pub(super) fn signing_secret(value: &str, member: Option<&str>) -> Result<String, Unusable> {
    let value = trim(value);
    if value.starts_with('{') {
        return secret_in_object(value, member);
    }
    if value.starts_with('[') {
        return Err(Unusable::new(
            "the value is a JSON array; store one text with all signing secrets, separated by white space or commas, alone or \
             as the value of a member of a JSON object",
            CORRECT,
        ));
    }
    if serde_json::from_str::<String>(value).is_ok_and(|inner| starts_like_json(trim(&inner))) {
        return Err(Unusable::new(
            "the value is a JSON string that contains JSON; store the inner JSON itself",
            CORRECT,
        ));
    }
    match member {
        Some(name) if !value.is_empty() && value != PLACEHOLDER => {
            let name = shown(name);
            let why = format!("WEBHOOK_SECRET_ARN names the member {name}, but the value is not a JSON object");
            Err(Unusable::new(why, RENAME))
        }
        Some(_) => first_usable(value, None, RENAME),
        None => first_usable(value, None, SET),
    }
}

fn secret_in_object(value: &str, member: Option<&str>) -> Result<String, Unusable> {
    let Ok(mut members) = serde_json::from_str::<BTreeMap<String, Value>>(value) else {
        return Err(Unusable::new("the value starts with `{`, but it is not a valid JSON object", CORRECT));
    };
    members.retain(|name, _| member.is_none_or(|member| name == member));
    let texts = members.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    let secrets: Vec<_> = texts.filter(|(_, text)| first_item(text).starts_with(KEY_PREFIXES[0])).collect();
    match secrets[..] {
        [] => {}
        [(name, text)] => return first_usable(text, Some(name), CORRECT),
        _ => {
            let names: Vec<_> = secrets.iter().take(MOST_LISTED_MEMBERS).map(|(name, _)| shown(name)).collect();
            let rest = match secrets.len() - names.len() {
                0 => String::new(),
                rest => format!(" and {rest} more"),
            };
            let why = format!(
                "several members of the JSON object contain a signing secret: {}{rest}; none of them is used until the end of \
                 WEBHOOK_SECRET_ARN names one, as in `arn:…:secret:NAME:MEMBER::`",
                names.join(", ")
            );
            return Err(Unusable::new(why, NAME));
        }
    }
    // There is no signing secret. Something that looks like a mistake is more helpful than its absence.
    for (name, value) in &members {
        let why = match value {
            Value::String(text) if trim(text) == PLACEHOLDER || has_key_prefix(first_item(text)) => {
                return first_usable(text, Some(name), CORRECT);
            }
            Value::String(text) if starts_like_json(trim(text)) && contains_key_prefix(text) => format!(
                "the member {} is a string that contains JSON; store the signing secret alone as the value of the member",
                shown(name)
            ),
            Value::Object(_) | Value::Array(_) if contains_key_prefix(&value.to_string()) => format!(
                "the signing secret is in an object or an array in the member {}; store it alone as the value of the member",
                shown(name)
            ),
            _ => continue,
        };
        return Err(Unusable::new(why, CORRECT));
    }
    Err(match member.map(shown) {
        None => Unusable::new(
            "the value is a JSON object, but no member contains a secret that starts with `whsec_`",
            CORRECT,
        ),
        Some(name) if members.is_empty() => Unusable::new(
            format!("WEBHOOK_SECRET_ARN names the member {name}, but the JSON object has no such member"),
            RENAME,
        ),
        Some(name) => Unusable::new(
            format!(
                "WEBHOOK_SECRET_ARN names the member {name}, but that contains no secret that starts with `whsec_`"
            ),
            RENAME,
        ),
    })
}

/// The first usable one of a list of signing secrets.
fn first_usable(list: &str, member: Option<&str>, advice: &'static str) -> Result<String, Unusable> {
    if trim(list) == PLACEHOLDER {
        return Err(Unusable::new("the value is still the template's placeholder", advice));
    }
    let secrets: Vec<_> = items(list).map(|secret| (secret, problem(secret))).collect();
    if let Some((secret, _)) = secrets.iter().find(|(_, problem)| problem.is_none()) {
        return Ok((*secret).to_owned());
    }
    let Some((_, Some(problem))) = secrets.first() else {
        return Err(Unusable::new("the value contains no signing secret", advice));
    };
    let place = member.map(|name| format!(" in the member {}", shown(name))).unwrap_or_default();
    Err(Unusable::new(format!("secret 1 of {}{place} {problem}", secrets.len()), advice))
}

/// Why the function doesn't accept a signing secret.
fn problem(secret: &str) -> Option<String> {
    if secret == DEVELOPMENT_SECRET {
        return Some("is the published development secret, which anyone can sign with".into());
    }
    let why = match secret.strip_prefix(KEY_PREFIXES[0]).map(|key| BASE64_STANDARD.decode(key)) {
        Some(Ok(key)) if (24..=64).contains(&key.len()) => return None,
        Some(Ok(key)) => format!("its key has {} bytes instead of 24 to 64", key.len()),
        Some(Err(_)) => "it is not standard, padded base64 after `whsec_`".into(),
        None if has_key_prefix(secret) => {
            "it is an Ed25519 key, and those are not supported; the endpoint must sign with a \
                                           secret that starts with `whsec_`"
                .into()
        }
        None if secret == "v1" => "it is `v1`; remove `v1,` before the secret".into(),
        None => "it does not start with `whsec_`".into(),
    };
    Some(format!("is invalid: {why}"))
}

/// The items of a list whose separators are white space and commas.
fn items(list: &str) -> impl Iterator<Item = &str> {
    trim(list).split(|c: char| c.is_whitespace() || c == ',').map(trim).filter(|item| !item.is_empty())
}

/// The first item that isn't the `v1` that somebody wrote in front of a secret.
fn first_item(list: &str) -> &str {
    items(list).find(|&item| item != "v1").unwrap_or_default()
}

fn starts_like_json(text: &str) -> bool {
    text.starts_with(['{', '['])
}

fn has_key_prefix(text: &str) -> bool {
    KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

pub(super) fn contains_key_prefix(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    KEY_PREFIXES.iter().any(|prefix| text.contains(prefix))
}

/// A member's name as it is shown: with escape sequences for invisible characters, shortened, and only if it can't be a secret.
fn shown(name: &str) -> String {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    if contains_key_prefix(name) || name.split(|c| !is_base64(c)).any(|run| run.len() >= SHORTEST_ENCODED_KEY) {
        return "`…` (a name that could be a secret)".into();
    }
    let mut shown = String::new();
    for c in name.chars().take(LONGEST_SHOWN_NAME) {
        if is_invisible(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    let rest = if name.chars().nth(LONGEST_SHOWN_NAME).is_some() { "…" } else { "" };
    format!("`{shown}{rest}`")
}

/// Whether a character can't be seen, or looks like a space without being one. A plain space is not invisible.
fn is_invisible(c: char) -> bool {
    // The standard library escapes most of them, except if they extend the character before them.
    let is_escaped = || format!("a{c}").escape_debug().nth(2) == Some('u');
    c.is_control()
        || matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}')
        || (!c.is_ascii() && is_escaped())
}

/// Removes invisible characters around a text, and one pair of quotes.
fn trim(text: &str) -> &str {
    let is_blank = |c: char| c == ' ' || is_invisible(c);
    let text = text.trim_matches(is_blank);
    let pairs = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    let unquoted = pairs.iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(*open)?.strip_suffix(*close)?;
        (!inner.contains([*open, *close])).then_some(inner)
    });
    unquoted.map_or(text, |inner| inner.trim_matches(is_blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";

    /// The secret in a value, or the error.
    fn read(value: &str, member: Option<&str>) -> Result<String, String> {
        signing_secret(value, member).map_err(|unusable| unusable.why)
    }

    #[test]
    fn a_secret_is_read_as_people_store_it() {
        for (description, value) in [
            ("one secret", SECRET.to_owned()),
            ("two secrets", format!("{SECRET}, {OTHER_SECRET}")),
            ("an invalid one before it", format!("whsec_x {SECRET}")),
            ("`v1` before it", format!("v1,{SECRET}")),
            ("a byte order mark, quotes and a line break", format!("\u{feff}\"{SECRET}\"\r\n")),
            ("invisible characters", format!("\u{200b}\u{2060}\u{3000}{SECRET}\u{0}\u{ad}")),
            (
                "a member beside others",
                format!(r#"{{"client_id":"x","n":null,"list":["whsec_"],"secret":"{SECRET}"}}"#),
            ),
            ("a member with `v1`", format!(r#"{{"a":"v1,{SECRET}"}}"#)),
            ("a member beside the placeholder", format!(r#"{{"a":"{PLACEHOLDER}","b":"{SECRET}"}}"#)),
            ("a member beside an Ed25519 key", format!(r#"{{"a":"whsk_{}","b":"{SECRET}"}}"#, &SECRET[6..])),
            ("an object in single quotes", format!(r#"'{{"a":"{SECRET}"}}'"#)),
        ] {
            assert_eq!(read(&value, None), Ok(SECRET.to_owned()), "{description}");
        }
    }

    #[test]
    fn what_the_function_cannot_use_is_refused_in_its_words() {
        let placeholder = "the value is still the template's placeholder";
        let no_member = "the value is a JSON object, but no member contains a secret that starts with `whsec_`";
        let nested = "the signing secret is in an object or an array in the member `a`; store it alone as the value of the member";
        let in_string =
            "the member `a` is a string that contains JSON; store the signing secret alone as the value of the member";
        let value_in_string = "the value is a JSON string that contains JSON; store the inner JSON itself";
        let array = "the value is a JSON array; store one text with all signing secrets, separated by white space or commas, \
                     alone or as the value of a member of a JSON object";
        let ed25519 = "it is an Ed25519 key, and those are not supported; the endpoint must sign with a secret that starts with \
                       `whsec_`";
        for (value, advice, why) in [
            (String::new(), SET, "the value contains no signing secret"),
            (format!(" {PLACEHOLDER}\n"), SET, placeholder),
            (format!(r#"{{"secret":"{PLACEHOLDER}"}}"#), CORRECT, placeholder),
            ("secret".into(), SET, "secret 1 of 1 is invalid: it does not start with `whsec_`"),
            ("whsec_AAAA x".into(), SET, "secret 1 of 2 is invalid: its key has 3 bytes instead of 24 to 64"),
            (format!("\"{SECRET}"), SET, "secret 1 of 1 is invalid: it does not start with `whsec_`"),
            ("v1".into(), SET, "secret 1 of 1 is invalid: it is `v1`; remove `v1,` before the secret"),
            (
                r#"{"a":"whsec_*"}"#.into(),
                CORRECT,
                "secret 1 of 1 in the member `a` is invalid: it is not standard, padded base64 after `whsec_`",
            ),
            ("whpk_AAAA".into(), SET, &format!("secret 1 of 1 is invalid: {ed25519}")),
            (r#"{"a":"whsk_AAAA"}"#.into(), CORRECT, &format!("secret 1 of 1 in the member `a` is invalid: {ed25519}")),
            (
                DEVELOPMENT_SECRET.into(),
                SET,
                "secret 1 of 1 is the published development secret, which anyone can sign with",
            ),
            ("{".into(), CORRECT, "the value starts with `{`, but it is not a valid JSON object"),
            (r#"{"client_id":"x"}"#.into(), CORRECT, no_member),
            (r#"{"a":{"b":1},"c":"[1]"}"#.into(), CORRECT, no_member),
            (format!(r#"["{SECRET}"]"#), CORRECT, array),
            (format!(r#"{{"a":{{"b":"{SECRET}"}}}}"#), CORRECT, nested),
            (format!(r#"{{"a":["{SECRET}"]}}"#), CORRECT, nested),
            (format!(r#"{{"a":"{{\"b\":\"{SECRET}\"}}"}}"#), CORRECT, in_string),
            (format!(r#""{{\"a\":\"{SECRET}\"}}""#), CORRECT, value_in_string),
        ] {
            assert_eq!(signing_secret(&value, None), Err(Unusable::new(why, advice)), "{value}");
        }
    }

    #[test]
    fn none_of_several_members_is_used_until_one_is_named() {
        let several = |names: &str| {
            let why = format!(
                "several members of the JSON object contain a signing secret: {names}; none of them is used until the end of \
                 WEBHOOK_SECRET_ARN names one, as in `arn:…:secret:NAME:MEMBER::`"
            );
            Err(Unusable::new(why, NAME))
        };
        let value = format!(r#"{{"b":"{SECRET}","a":"{OTHER_SECRET}","port":1}}"#);
        assert_eq!(signing_secret(&value, None), several("`a`, `b`"));
        assert_eq!(read(&value, Some("a")), Ok(OTHER_SECRET.to_owned()));
        assert_eq!(read(&value, Some("b")), Ok(SECRET.to_owned()));
        // A key that isn't valid as ours is still a key of others.
        assert_eq!(signing_secret(&format!(r#"{{"a":"{SECRET}","b":"whsec_*"}}"#), None), several("`a`, `b`"));
        let many: Vec<_> = (10..22).map(|number| format!("\"{number}\":\"{SECRET}\"")).collect();
        let listed = "`10`, `11`, `12`, `13`, `14`, `15`, `16`, `17`, `18`, `19` and 2 more";
        assert_eq!(signing_secret(&format!("{{{}}}", many.join(",")), None), several(listed));
    }

    #[test]
    fn only_the_named_member_is_used() {
        let why =
            |rest: &str| Err(Unusable::new(format!("WEBHOOK_SECRET_ARN names the member `a`, but {rest}"), RENAME));
        let no_secret = || why("that contains no secret that starts with `whsec_`");
        for (value, expected) in [
            (format!(r#"{{"A":"{SECRET}"}}"#), why("the JSON object has no such member")),
            (format!(r#"{{"a":null,"b":"{SECRET}"}}"#), no_secret()),
            (format!(r#"{{"a":"","b":"{SECRET}"}}"#), no_secret()),
            (format!(r#"{{"a":"x","b":"{SECRET}"}}"#), no_secret()),
            (SECRET.into(), why("the value is not a JSON object")),
            (PLACEHOLDER.into(), Err(Unusable::new("the value is still the template's placeholder", RENAME))),
            (String::new(), Err(Unusable::new("the value contains no signing secret", RENAME))),
        ] {
            assert_eq!(signing_secret(&value, Some("a")), expected, "{value}");
        }
    }

    #[test]
    fn a_members_name_is_shown_escaped_and_shortened_unless_it_could_be_a_secret() {
        for (name, expected) in [
            ("signing secret", "`signing secret`".to_owned()),
            ("a\nb\u{200b}\u{a0}\u{1b}", "`a\\u{a}b\\u{200b}\\u{a0}\\u{1b}`".into()),
            (&"é-".repeat(32), format!("`{}`", "é-".repeat(32))),
            (&"é-".repeat(33), format!("`{}…`", "é-".repeat(32))),
            ("my WHSEC_ key", "`…` (a name that could be a secret)".into()),
            (SECRET, "`…` (a name that could be a secret)".into()),
            (&SECRET[6..], "`…` (a name that could be a secret)".into()),
        ] {
            assert_eq!(shown(name), expected);
        }
    }
}
