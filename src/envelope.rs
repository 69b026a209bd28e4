//! What did Lambda hand us? The one event of an invocation, read as an HTTP request.
//!
//! A function URL and an HTTP API send payload 2.0, a REST API 1.0. What we need of either is the method,
//! four headers and the body; we read just these, into borrowed slices where we can. `lambda_http` builds a whole
//! `http::Request` instead, and panics on a `Host`, a query string or a body that any stranger can send.

use std::{borrow::Cow, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use lambda_http::http::Method;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::json::Text;

/// The event of one invocation, not looked into yet: reading it must not fail before our handler is called,
/// since only the handler can answer.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Invocation(Box<RawValue>);

/// The version of the envelope's format, in which the answer is expected too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// 1.0, of a REST API.
    V1,
    /// 2.0, of a function URL or an HTTP API.
    V2,
}

/// The HTTP request in an envelope. Header names are matched in any case.
#[derive(Debug)]
pub struct Request<'a> {
    /// The envelope's version.
    pub payload: Payload,
    /// The method, as sent.
    pub method: Text<'a>,
    /// The headers that we read.
    pub headers: Headers<'a>,
    /// The body's bytes; base64 is undone.
    pub body: Cow<'a, [u8]>,
}

/// Why an event can't be read as an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeError {
    /// It is no HTTP envelope at all: nobody is waiting for an HTTP answer.
    NotHttp,
    /// It is an HTTP envelope, but what it holds can't be an HTTP request.
    Malformed(&'static str),
}

impl Invocation {
    /// Reads the event as an HTTP request.
    ///
    /// # Errors
    /// [`EnvelopeError`] says why it can't be read as one.
    pub fn request(&self) -> Result<Request<'_>, EnvelopeError> {
        let json = self.object().ok_or(EnvelopeError::NotHttp)?;
        let envelope: Envelope = serde_json::from_str(json).map_err(|_| why_unreadable(json))?;
        // `cargo lambda watch` puts an `httpMethod` of its own beside payload 2.0's.
        let (payload, method) = match (envelope.request_context.http.method, envelope.http_method) {
            (Some(method), _) => (Payload::V2, method),
            (None, Some(method)) => (Payload::V1, method),
            (None, None) => return Err(EnvelopeError::NotHttp),
        };
        if Method::from_bytes(method.as_bytes()).is_err() {
            return Err(EnvelopeError::Malformed("the method is not an HTTP method"));
        }
        let headers = envelope.headers.or(envelope.multi_value_headers);
        if headers.malformed {
            return Err(EnvelopeError::Malformed("a header's value is not an HTTP header value"));
        }
        let body = match envelope.body.0 {
            body if envelope.is_base64_encoded == Some(true) => BASE64_STANDARD
                .decode(body.as_bytes())
                .map_err(|_| EnvelopeError::Malformed("the body is not the base64 that it is said to be"))?
                .into(),
            Cow::Borrowed(body) => Cow::Borrowed(body.as_bytes()),
            Cow::Owned(body) => Cow::Owned(body.into_bytes()),
        };
        Ok(Request { payload, method, headers, body })
    }

    /// The event's JSON if it is an object: serde would take an array for a struct too, its elements for the members.
    pub(crate) fn object(&self) -> Option<&str> {
        Some(self.0.get()).filter(|json| json.starts_with('{'))
    }
}

/// Tells an HTTP envelope with members of the wrong kind from an event that is none.
fn why_unreadable(json: &str) -> EnvelopeError {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(rename = "httpMethod")]
        http_method: Option<IgnoredAny>,
        #[serde(rename = "requestContext")]
        request_context: Option<IgnoredAny>,
    }
    match serde_json::from_str(json) {
        Ok(Shape { http_method: None, request_context: None }) => EnvelopeError::NotHttp,
        // A duplicated member ends here too.
        Err(error) if !error.to_string().starts_with("duplicate field") => EnvelopeError::NotHttp,
        _ => EnvelopeError::Malformed("a member of the envelope is not of its kind"),
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "httpMethod")]
    http_method: Option<Text<'a>>,
    #[serde(borrow, default, rename = "requestContext", deserialize_with = "null_is_default")]
    request_context: RequestContext<'a>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    headers: Headers<'a>,
    #[serde(borrow, default, rename = "multiValueHeaders", deserialize_with = "null_is_default")]
    multi_value_headers: Headers<'a>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    body: Text<'a>,
    #[serde(default, rename = "isBase64Encoded")]
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize, Default)]
struct RequestContext<'a> {
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    http: Http<'a>,
}

#[derive(Deserialize, Default)]
struct Http<'a> {
    #[serde(borrow, default)]
    method: Option<Text<'a>>,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The headers that we read; names in any case.
#[derive(Debug, Default)]
pub struct Headers<'a> {
    /// `content-type`
    pub content_type: Option<Text<'a>>,
    /// `webhook-id`
    pub webhook_id: Option<Text<'a>>,
    /// `webhook-timestamp`
    pub webhook_timestamp: Option<Text<'a>>,
    /// `webhook-signature`
    pub webhook_signature: Option<Text<'a>>,
    malformed: bool,
}

impl<'a> Headers<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Text<'a>>> {
        let slots = [
            ("content-type", &mut self.content_type),
            ("webhook-id", &mut self.webhook_id),
            ("webhook-timestamp", &mut self.webhook_timestamp),
            ("webhook-signature", &mut self.webhook_signature),
        ];
        slots.into_iter().find_map(|(known, slot)| known.eq_ignore_ascii_case(name).then_some(slot))
    }

    fn insert(&mut self, name: &str, value: Text<'a>) {
        // What HTTP allows in a field value (RFC 9110, section 5.5). No early end: so many bytes are looked at together.
        self.malformed |= value.bytes().fold(false, |bad, byte| bad | matches!(byte, 0..=8 | 10..=31 | 127));
        if let Some(slot) = self.slot(name) {
            *slot = Some(value);
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            content_type: self.content_type.or(other.content_type),
            webhook_id: self.webhook_id.or(other.webhook_id),
            webhook_timestamp: self.webhook_timestamp.or(other.webhook_timestamp),
            webhook_signature: self.webhook_signature.or(other.webhook_signature),
            malformed: self.malformed || other.malformed,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;

        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Headers<'de>, A::Error> {
                let mut headers = Headers::default();
                while let Some(name) = members.next_key::<Text>()? {
                    members.next_value_seed(Insert { headers: &mut headers, name: &name })?;
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(HeadersVisitor)
    }
}

/// Reads a header's one value (`headers`), or its list of values (`multiValueHeaders`), of which the last counts.
struct Insert<'h, 'a> {
    headers: &'h mut Headers<'a>,
    name: &'h str,
}

impl<'de> DeserializeSeed<'de> for Insert<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Insert<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header value or a list of them")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<(), E> {
        self.headers.insert(self.name, Text(Cow::Borrowed(value)));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.headers.insert(self.name, Text(Cow::Owned(value.to_owned())));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while let Some(value) = values.next_element()? {
            self.headers.insert(self.name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn invocation(event: &str) -> Invocation {
        serde_json::from_str(event).unwrap()
    }

    #[track_caller]
    fn fails(event: &serde_json::Value, expected: EnvelopeError) {
        let event = event.to_string();
        assert_eq!(invocation(&event).request().unwrap_err(), expected, "{event}");
    }

    #[test]
    fn both_payload_versions() {
        let headers = json!({"Content-Type": "application/json", "WEBHOOK-ID": "msg_1", "host": "no host at all", "webhook-signature": "v1,a\tb"});
        let version_1 = json!({"httpMethod": "POST", "headers": headers, "body": "{\"a\":1}"});
        let version_2 = json!({"requestContext": {"http": {"method": "POST"}}, "rawQueryString": "a \"b\"",
            "headers": headers, "body": "eyJhIjoxfQ==", "isBase64Encoded": true});
        for event in [version_1, version_2] {
            let invocation = invocation(&event.to_string());
            let request = invocation.request().unwrap();
            assert_eq!(&*request.method, "POST");
            assert_eq!(request.headers.content_type.as_deref(), Some("application/json"));
            assert_eq!(request.headers.webhook_id.as_deref(), Some("msg_1"));
            assert_eq!(request.headers.webhook_timestamp.as_deref(), None);
            assert_eq!(request.headers.webhook_signature.as_deref(), Some("v1,a\tb"));
            assert_eq!(&*request.body, br#"{"a":1}"#);
        }
    }

    #[test]
    fn the_method_of_payload_2_counts() {
        let event = json!({"httpMethod": "GET", "requestContext": {"http": {"method": "POST"}}});
        let invocation = invocation(&event.to_string());
        let request = invocation.request().unwrap();
        assert_eq!((request.payload, &*request.method), (Payload::V2, "POST"));
    }

    #[test]
    fn multi_value_headers_fill_in_for_headers() {
        let event = json!({"httpMethod": "POST", "headers": null, "body": null, "multiValueHeaders":
            {"webhook-id": ["msg_1", "msg_2"], "webhook-timestamp": ["1"], "content-type": [], "webhook-signature": ["v1"]}});
        let invocation = invocation(&event.to_string());
        let Request { headers, body, .. } = invocation.request().unwrap();
        assert_eq!(headers.webhook_id.as_deref(), Some("msg_2"));
        assert_eq!(headers.webhook_timestamp.as_deref(), Some("1"));
        assert_eq!(headers.webhook_signature.as_deref(), Some("v1"));
        assert_eq!(headers.content_type.as_deref(), None);
        assert_eq!(&*body, b"");
    }

    #[test]
    fn no_http_envelope() {
        for event in [
            "{}",
            "[]",
            "[[]]",
            r#"["POST",{},{},{},"",false]"#,
            "null",
            "1",
            "\"POST\"",
            r#"{"key1":"value1"}"#,
            r#"{"requestContext":{"stage":"x"}}"#,
            r#"{"Records":[]}"#,
            r#"{"headers":[],"body":{}}"#,
            r#"{"\ud800":1}"#,
        ] {
            assert_eq!(invocation(event).request().unwrap_err(), EnvelopeError::NotHttp, "{event}");
        }
        assert_eq!(invocation("[[]]").object(), None);
    }

    #[test]
    fn an_http_envelope_that_is_malformed() {
        let valid = json!({"requestContext": {"http": {"method": "POST"}}, "headers": {}, "body": "", "isBase64Encoded": false});
        let kind = EnvelopeError::Malformed("a member of the envelope is not of its kind");
        let value = EnvelopeError::Malformed("a header's value is not an HTTP header value");
        let base64 = EnvelopeError::Malformed("the body is not the base64 that it is said to be");
        for (member, hostile, expected) in [
            ("body", json!({}), kind),
            ("headers", json!([]), kind),
            ("headers", json!({"webhook-id": 1}), kind),
            ("headers", json!({"webhook-id": [1]}), kind),
            ("isBase64Encoded", json!("yes"), kind),
            ("requestContext", json!("POST"), kind),
            (
                "requestContext",
                json!({"http": {"method": ""}}),
                EnvelopeError::Malformed("the method is not an HTTP method"),
            ),
            (
                "requestContext",
                json!({"http": {"method": "PO ST"}}),
                EnvelopeError::Malformed("the method is not an HTTP method"),
            ),
            ("headers", json!({"webhook-id": "a\nb"}), value),
            ("headers", json!({"x-other": "a\r\nb"}), value),
            ("headers", json!({"x-other": "\u{0}"}), value),
            ("headers", json!({"x-other": "\u{7f}"}), value),
            ("multiValueHeaders", json!({"x-other": ["fine", "\u{1f}"]}), value),
        ] {
            let mut event = valid.clone();
            event[member] = hostile;
            fails(&event, expected);
        }
        for body in ["e30", "e3 0=", "e30=e30=", "-_==", "é"] {
            let mut event = valid.clone();
            event["body"] = json!(body);
            event["isBase64Encoded"] = json!(true);
            fails(&event, base64);
        }
        for twice in [
            r#"{"body":"a","httpMethod":"POST","body":"b"}"#,
            r#"{"httpMethod":"POST","httpMethod":"POST"}"#,
            r#"{"requestContext":{},"requestContext":{"http":{"method":"POST"}}}"#,
        ] {
            assert_eq!(invocation(twice).request().unwrap_err(), kind, "{twice}");
        }
    }

    #[test]
    fn a_body_without_escapes_is_borrowed() {
        let invocation = invocation(r#"{"httpMethod":"POST","body":"plain"}"#);
        assert!(matches!(invocation.request().unwrap().body, Cow::Borrowed(b"plain")));
    }
}
