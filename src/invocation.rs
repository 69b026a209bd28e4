//! The Lambda event of one invocation: an HTTP request with a delivery, messages from our parking queue, or something else.
//!
//! A function URL and an HTTP API send payload format 2.0, a REST API sends 1.0. The function needs only the method, three
//! headers and the body, so it parses only these. `lambda_http`'s request types aren't used because they parse everything: an
//! invalid value in an unrelated header makes them fail, and anyone can send a `Host`, a query string or a body on which
//! their conversion to an `http::Request` panics.

use std::{borrow::Cow, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit_events::CowStr;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    json::Members,
    parked::{self, Message},
    queue::Queue,
};

/// The members of a Lambda event that the function reads.
const MEMBERS: [&str; 7] =
    ["requestContext", "httpMethod", "headers", "multiValueHeaders", "body", "isBase64Encoded", "Records"];

/// The members of the Lambda event that the function reads, as unparsed JSON. All are missing if the event is not an object.
///
/// Deserialization accepts any JSON, with two exceptions that no AWS service sends: an event that is only a number out of
/// range, and a member's name that contains half of a surrogate pair. The runtime reports these as errors, and its messages
/// contain no part of the event.
#[derive(Debug, Default)]
pub struct RawEvent([Option<Box<RawValue>>; MEMBERS.len()]);

/// A parsed Lambda event, by its kind.
#[derive(Debug)]
pub enum Invocation<'a> {
    /// An HTTP request.
    Http(Request<'a>),
    /// An HTTP request that can't be read, and why.
    MalformedHttp(PayloadFormat, &'static str),
    /// Messages that were received from the parking queue.
    Parked(Vec<Message<'a>>),
    /// Anything else, such as a test event or the messages of another queue.
    Unknown,
}

/// The payload format of an HTTP request. The response has the same format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// Format 1.0, which a REST API sends.
    V1,
    /// Format 2.0, which a function URL or an HTTP API sends.
    V2,
}

/// An HTTP request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The payload format that it came in.
    pub format: PayloadFormat,
    /// The method, as sent.
    pub method: CowStr<'a>,
    /// The headers of the signature.
    pub headers: Headers<'a>,
    /// The body's bytes, decoded if the gateway encoded them in base64.
    pub body: Cow<'a, [u8]>,
}

/// The headers of the signature. Their names are case-insensitive.
#[derive(Debug, Default)]
pub struct Headers<'a> {
    /// `webhook-id`
    pub webhook_id: Option<CowStr<'a>>,
    /// `webhook-timestamp`
    pub webhook_timestamp: Option<CowStr<'a>>,
    /// `webhook-signature`
    pub webhook_signature: Option<CowStr<'a>>,
}

#[derive(Deserialize, Default)]
struct RequestContext<'a> {
    #[serde(borrow)]
    http: Option<Http<'a>>,
}

#[derive(Deserialize)]
struct Http<'a> {
    #[serde(borrow)]
    method: Option<&'a RawValue>,
}

impl RawEvent {
    /// Determines the kind of the Lambda event and parses it.
    #[must_use]
    pub fn read(&self, parking_queue: Option<&Queue>) -> Invocation<'_> {
        let context: RequestContext<'_> = self.parse("requestContext", "").ok().flatten().unwrap_or_default();
        // Look for the method of format 2.0 first: `cargo lambda watch` adds an `httpMethod` to events of that format.
        let (format, method) = match (context.http.and_then(|http| http.method), self.get("httpMethod")) {
            (Some(method), _) => (PayloadFormat::V2, method),
            (None, Some(method)) => (PayloadFormat::V1, method),
            (None, None) => {
                let messages =
                    self.get("Records").and_then(|records| parked::read_batch(records.get(), parking_queue?));
                return messages.map_or(Invocation::Unknown, Invocation::Parked);
            }
        };
        match self.request(format, method) {
            Ok(request) => Invocation::Http(request),
            Err(reason) => Invocation::MalformedHttp(format, reason),
        }
    }

    fn request<'a>(&'a self, format: PayloadFormat, method: &'a RawValue) -> Result<Request<'a>, &'static str> {
        let method = parse(method, "the method is not a string")?;
        let headers = Headers::read(self)?;
        let body = self.parse("body", "the body is not a string")?.unwrap_or_default();
        let is_base64 = self.parse("isBase64Encoded", "`isBase64Encoded` is not a boolean")?.unwrap_or(false);
        let body = match body {
            CowStr(body) if is_base64 => {
                BASE64_STANDARD.decode(body.as_bytes()).map_err(|_| "the body is not valid base64")?.into()
            }
            CowStr(Cow::Borrowed(body)) => Cow::Borrowed(body.as_bytes()),
            CowStr(Cow::Owned(body)) => Cow::Owned(body.into_bytes()),
        };
        Ok(Request { format, method, headers, body })
    }

    /// A member. `null` counts as a missing member.
    fn get(&self, name: &str) -> Option<&RawValue> {
        MEMBERS.iter().zip(&self.0).find_map(|(other, value)| value.as_deref().filter(|_| *other == name))
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self, name: &str, error: &'static str) -> Result<Option<T>, &'static str> {
        self.get(name).map(|value| parse(value, error)).transpose()
    }
}

impl<'de> Deserialize<'de> for RawEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;

        impl<'de> Visitor<'de> for EventVisitor {
            type Value = RawEvent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            /// The last of repeated members counts, as in other JSON parsers.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEvent, A::Error> {
                let mut event = RawEvent::default();
                while let Some(CowStr(name)) = map.next_key()? {
                    match MEMBERS.iter().position(|member| *member == name) {
                        Some(index) => event.0[index] = map.next_value()?,
                        None => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(event)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawEvent, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEvent::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<RawEvent, E> {
                Ok(RawEvent::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<RawEvent, E> {
                Ok(RawEvent::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<RawEvent, E> {
                Ok(RawEvent::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<RawEvent, E> {
                Ok(RawEvent::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<RawEvent, E> {
                Ok(RawEvent::default())
            }

            fn visit_unit<E>(self) -> Result<RawEvent, E> {
                Ok(RawEvent::default())
            }
        }

        deserializer.deserialize_any(EventVisitor)
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a RawValue, error: &'static str) -> Result<T, &'static str> {
    serde_json::from_str(json.get()).map_err(|_| error)
}

impl<'a> Headers<'a> {
    /// Reads each header from `headers`. If it is missing there, the last value in `multiValueHeaders` is used.
    ///
    /// The values of other headers aren't parsed, so an invalid one doesn't cause a delivery to be refused.
    fn read(event: &'a RawEvent) -> Result<Self, &'static str> {
        // A member by its name, ignoring ASCII case. The last of repeated members counts, and `null` is a missing member.
        let find = |members: Option<&Members<'a>>, name: &str| {
            let (_, value) = members?.0.iter().rfind(|(other, _)| other.eq_ignore_ascii_case(name))?;
            Some(*value).filter(|value| value.get() != "null")
        };
        let single: Option<Members<'_>> = event.parse("headers", "the headers are not an object")?;
        let multiple: Option<Members<'_>> = event.parse("multiValueHeaders", "the headers are not an object")?;
        let header = |name| -> Result<Option<CowStr<'a>>, &'static str> {
            if let Some(value) = find(single.as_ref(), name) {
                return parse(value, "a header is not a string").map(Some);
            }
            let values = find(multiple.as_ref(), name);
            let values: Option<Vec<CowStr<'_>>> =
                values.map(|values| parse(values, "a header is not a list of strings")).transpose()?;
            Ok(values.and_then(|mut values| values.pop()))
        };
        Ok(Self {
            webhook_id: header("webhook-id")?,
            webhook_timestamp: header("webhook-timestamp")?,
            webhook_signature: header("webhook-signature")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(json: &str) -> RawEvent {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn request(event: &RawEvent) -> Request<'_> {
        match event.read(None) {
            Invocation::Http(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_payload_formats_are_read_alike() {
        let headers = json!({"Content-Type": "application/json", "WEBHOOK-ID": "msg_1", "host": "not a host", "webhook-signature": "v1,a\tb"});
        let format_1 = json!({"httpMethod": "POST", "headers": headers, "body": "{\"a\":1}"});
        let format_2 = json!({"requestContext": {"http": {"method": "POST"}}, "rawQueryString": "a \"b\"",
            "headers": headers, "body": "eyJhIjoxfQ==", "isBase64Encoded": true});
        for (json, format) in [(format_1, PayloadFormat::V1), (format_2, PayloadFormat::V2)] {
            let event = event(&json.to_string());
            let request = request(&event);
            assert_eq!((request.format, &*request.method), (format, "POST"));
            assert_eq!(request.headers.webhook_id.as_deref(), Some("msg_1"));
            assert_eq!(request.headers.webhook_timestamp.as_deref(), None);
            assert_eq!(request.headers.webhook_signature.as_deref(), Some("v1,a\tb"));
            assert_eq!(&*request.body, br#"{"a":1}"#);
        }
    }

    #[test]
    fn the_method_of_format_2_comes_first() {
        let json = json!({"httpMethod": "GET", "requestContext": {"http": {"method": "POST"}}});
        let event = event(&json.to_string());
        let request = request(&event);
        assert_eq!((request.format, &*request.method), (PayloadFormat::V2, "POST"));
    }

    #[test]
    fn multi_value_headers_fill_in_for_headers() {
        let json = json!({"httpMethod": "POST", "headers": {"webhook-signature": null}, "body": null, "multiValueHeaders":
            {"webhook-id": ["msg_1", "msg_2"], "Webhook-Timestamp": ["1"], "webhook-signature": []}});
        let event = event(&json.to_string());
        let Request { headers, body, .. } = request(&event);
        assert_eq!(headers.webhook_id.as_deref(), Some("msg_2"));
        assert_eq!(headers.webhook_timestamp.as_deref(), Some("1"));
        assert_eq!(headers.webhook_signature.as_deref(), None);
        assert_eq!(&*body, b"");
    }

    #[test]
    fn other_events_are_unknown() {
        for json in [
            "{}",
            "[]",
            "[[]]",
            r#"["POST",{},{},{},"",false]"#,
            "null",
            "true",
            "1",
            "-1",
            "1.5",
            "\"POST\"",
            r#"{"key1":"value1"}"#,
            r#"{"requestContext":{"stage":"x"}}"#,
            r#"{"requestContext":"POST"}"#,
            r#"{"httpMethod":null}"#,
            r#"{"Records":[]}"#,
            r#"{"headers":[],"body":{}}"#,
            r#"{"key\u00e9":"\ud800"}"#,
        ] {
            assert!(matches!(event(json).read(None), Invocation::Unknown), "{json}");
        }
        for (json, error) in [
            ("1e999", "number out of range at line 1 column 5"),
            (r#"{"Ada\ud800":1}"#, "unexpected end of hex escape at line 1 column 12"),
        ] {
            assert_eq!(serde_json::from_str::<RawEvent>(json).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_malformed_request_is_answered_in_its_own_format() {
        let valid = [
            (PayloadFormat::V1, json!({"httpMethod": "POST", "headers": {}, "body": ""})),
            (PayloadFormat::V2, json!({"requestContext": {"http": {"method": "POST"}}, "headers": {}, "body": ""})),
        ];
        let base64 = json!(true);
        let plain = Value::Null;
        for (member, value, is_base64, expected) in [
            ("body", json!({}), &plain, "the body is not a string"),
            ("headers", json!([]), &plain, "the headers are not an object"),
            ("multiValueHeaders", json!([]), &plain, "the headers are not an object"),
            ("headers", json!({"webhook-id": 1}), &plain, "a header is not a string"),
            ("headers", json!({"webhook-id": ["msg_1"]}), &plain, "a header is not a string"),
            ("multiValueHeaders", json!({"webhook-id": "msg_1"}), &plain, "a header is not a list of strings"),
            ("multiValueHeaders", json!({"webhook-id": [1]}), &plain, "a header is not a list of strings"),
            ("body", json!(""), &json!("yes"), "`isBase64Encoded` is not a boolean"),
            ("body", json!("e30"), &base64, "the body is not valid base64"),
            ("body", json!("e3 0="), &base64, "the body is not valid base64"),
            ("body", json!("e30=e30="), &base64, "the body is not valid base64"),
            ("body", json!("-_=="), &base64, "the body is not valid base64"),
            ("body", json!("é"), &base64, "the body is not valid base64"),
        ] {
            for (format, valid) in &valid {
                let mut json = valid.clone();
                json["isBase64Encoded"] = is_base64.clone();
                json[member] = value.clone();
                match event(&json.to_string()).read(None) {
                    Invocation::MalformedHttp(read, reason) => {
                        assert_eq!((read, reason), (*format, expected), "{json}");
                    }
                    other => panic!("{json}: {other:?}"),
                }
            }
        }
        for (format, json) in [
            (PayloadFormat::V1, r#"{"httpMethod":1}"#),
            (PayloadFormat::V2, r#"{"requestContext":{"http":{"method":1}}}"#),
        ] {
            match event(json).read(None) {
                Invocation::MalformedHttp(read, "the method is not a string") => assert_eq!(read, format),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_header_that_is_not_needed_is_no_reason_to_refuse() {
        for value in [json!("a\r\nb"), json!("\u{0}"), json!("é"), json!(1), json!({"a": []}), json!(["a"])] {
            for headers in ["headers", "multiValueHeaders"] {
                let json = json!({"httpMethod": "POST", headers: {"x-other": value, "content-type": value}});
                request(&event(&json.to_string()));
            }
        }
    }

    #[test]
    fn the_last_of_repeated_members_counts() {
        let event = event(r#"{"httpMethod":"POST","body":"first","body":"last"}"#);
        assert_eq!(&*request(&event).body, b"last");
    }

    #[test]
    fn a_body_without_escape_sequences_is_borrowed() {
        let event = event(r#"{"httpMethod":"POST","body":"plain"}"#);
        assert!(matches!(request(&event).body, Cow::Borrowed(b"plain")));
    }
}
