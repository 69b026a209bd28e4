//! A signed delivery, and the envelopes in which Lambda's HTTP triggers send it to the function.

use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit_eventbridge::signature::Key;
use serde_json::{Value, json};

/// A delivery as the sender signs it.
#[derive(Clone)]
pub struct SignedDelivery {
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`
    pub timestamp: String,
    /// `webhook-signature`
    pub signature: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl SignedDelivery {
    /// Signs a body at a time in seconds.
    #[must_use]
    pub fn new(key: &Key, id: &str, timestamp: u64, body: &[u8]) -> Self {
        let timestamp = timestamp.to_string();
        let signature = key.sign(id, &timestamp, body);
        Self { id: id.to_owned(), timestamp, signature, body: body.to_vec() }
    }

    /// The headers that the sender sets.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, &str); 4] {
        [
            ("content-type", "application/json"),
            ("webhook-id", &self.id),
            ("webhook-timestamp", &self.timestamp),
            ("webhook-signature", &self.signature),
        ]
    }

    /// The envelope of a function URL (payload format 2.0).
    #[must_use]
    pub fn function_url(&self) -> Value {
        self.format_2("abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws", "/", "anonymous")
    }

    /// The envelope of an HTTP API (payload format 2.0).
    #[must_use]
    pub fn http_api(&self) -> Value {
        self.format_2("a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "/webhooks/scalekit", "123456789012")
    }

    fn format_2(&self, domain: &str, path: &str, account: &str) -> Value {
        let mut headers = json!({
            "content-length": self.body.len().to_string(),
            "host": domain,
            "user-agent": "Svix-Webhooks/1.0",
            "x-amzn-trace-id": "Root=1-68ee1577-0123456789abcdef01234567",
            "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        });
        for (name, value) in self.headers() {
            headers[name] = json!(value);
        }
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "accountId": account,
                "apiId": domain.split('.').next(),
                "domainName": domain,
                "domainPrefix": domain.split('.').next(),
                "http": {
                    "method": "POST",
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "Svix-Webhooks/1.0",
                },
                "requestId": "00000000-0000-4000-8000-000000000000",
                "routeKey": "$default",
                "stage": "$default",
                "time": "14/Oct/2025:09:29:27 +0000",
                "timeEpoch": 1_760_434_167_000_u64,
            },
            "body": String::from_utf8_lossy(&self.body),
            "isBase64Encoded": false,
        })
    }

    /// The envelope of a REST API (payload format 1.0): header names as sent, each header in two places.
    #[must_use]
    pub fn rest_api(&self) -> Value {
        let path = "/webhooks/scalekit";
        let named = ["Content-Type", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"];
        let headers = named.iter().zip(self.headers());
        let single: serde_json::Map<_, _> =
            headers.clone().map(|(name, (_, value))| ((*name).to_owned(), json!(value))).collect();
        let multi: serde_json::Map<_, _> =
            headers.map(|(name, (_, value))| ((*name).to_owned(), json!([value]))).collect();
        json!({
            "resource": path,
            "path": path,
            "httpMethod": "POST",
            "headers": single,
            "multiValueHeaders": multi,
            "queryStringParameters": null,
            "multiValueQueryStringParameters": null,
            "pathParameters": null,
            "stageVariables": null,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "a1b2c3d4e5",
                "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
                "domainPrefix": "a1b2c3d4e5",
                "extendedRequestId": "AAAAAAAAAAAAAAA=",
                "httpMethod": "POST",
                "identity": {"sourceIp": "192.0.2.1", "userAgent": "Svix-Webhooks/1.0"},
                "path": format!("/prod{path}"),
                "protocol": "HTTP/1.1",
                "requestId": "00000000-0000-4000-8000-000000000000",
                "requestTime": "14/Oct/2025:09:29:27 +0000",
                "requestTimeEpoch": 1_760_434_167_000_u64,
                "resourceId": "abc123",
                "resourcePath": path,
                "stage": "prod",
            },
            "body": String::from_utf8_lossy(&self.body),
            "isBase64Encoded": false,
        })
    }

    /// The same envelope with its body in base64, as a gateway sends a body that it considers binary.
    #[must_use]
    pub fn in_base64(&self, mut envelope: Value) -> Value {
        envelope["body"] = json!(BASE64_STANDARD.encode(&self.body));
        envelope["isBase64Encoded"] = json!(true);
        envelope
    }
}
