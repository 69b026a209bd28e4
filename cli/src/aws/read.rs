//! Signed requests to the services that `doctor` only reads, with the answers as JSON.
//!
//! These are a dozen simple calls to seven services. The SDK's clients for them would take longer to compile than everything
//! else in this program: 150 of 250 seconds of CPU time in a debug build, most of it for CloudFormation, KMS, Lambda and
//! CloudWatch. The SDK still finds the credentials, signs the requests and connects.

use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::{
    Connector, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use aws_types::service_config::ServiceConfigKey;
use http::Request;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep, timeout};

use crate::terminal::causes;

/// The longest time for one request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How often a request is sent if it is throttled, or fails for a reason that can pass.
const TRIES: u32 = 4;

/// The pause before the second try. It doubles with each try.
const PAUSE: Duration = Duration::from_millis(300);

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    CloudFormation,
    CloudWatch,
    Kms,
    Lambda,
    SecretsManager,
    Quotas,
    Sns,
}

/// How a service is called.
enum Protocol {
    /// The prefix of the header with the operation, and the version of the content type.
    Json(&'static str, &'static str),
    /// The version of the API. The answer is XML.
    Query(&'static str),
    Rest,
}

impl Service {
    /// The id in the names of configuration keys, the name of the host, which also signs, and the protocol.
    fn api(self) -> (&'static str, &'static str, Protocol) {
        match self {
            Self::CloudFormation => ("CloudFormation", "cloudformation", Protocol::Query("2010-05-15")),
            Self::CloudWatch => ("CloudWatch", "monitoring", Protocol::Json("GraniteServiceVersion20100801", "1.0")),
            Self::Kms => ("KMS", "kms", Protocol::Json("TrentService", "1.1")),
            Self::Lambda => ("Lambda", "lambda", Protocol::Rest),
            Self::SecretsManager => ("Secrets Manager", "secretsmanager", Protocol::Json("secretsmanager", "1.1")),
            Self::Quotas => ("Service Quotas", "servicequotas", Protocol::Json("ServiceQuotasV20190624", "1.1")),
            Self::Sns => ("SNS", "sns", Protocol::Query("2010-03-31")),
        }
    }
}

/// Reads from the services in one region.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    config: SdkConfig,
    credentials: Credentials,
    connector: Arc<Connector>,
    region: String,
}

impl Reader {
    pub(super) async fn new(config: &SdkConfig) -> Result<Self, String> {
        let provider = config.credentials_provider().ok_or("there are no credentials")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| format!("there are no credentials: {}", causes(&error)))?;
        let connector = ConnectorBuilder::default().proxy_config(ProxyConfig::from_env());
        let connector = Arc::new(connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build());
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Ok(Self { config: config.clone(), credentials, connector, region })
    }

    /// Reads from another region.
    pub(crate) fn in_region(&self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self.clone() }
    }

    /// Calls an operation whose input is a JSON object. For a service whose answers are XML, its members have to be strings.
    pub(crate) async fn call(&self, service: Service, operation: &str, input: Value) -> Result<Value, CallError> {
        let request = Request::post(self.endpoint(service) + "/");
        let (request, body) = match service.api().2 {
            Protocol::Json(prefix, version) => {
                let request = request.header("content-type", format!("application/x-amz-json-{version}"));
                (request.header("x-amz-target", format!("{prefix}.{operation}")), input.to_string())
            }
            Protocol::Query(version) => {
                let members = input.as_object().into_iter().flatten();
                let members = members.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
                let form = [("Action", operation), ("Version", version)].into_iter().chain(members);
                let form = form.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&");
                (request.header("content-type", "application/x-www-form-urlencoded"), form)
            }
            Protocol::Rest => return Err(CallError::new("", &format!("{service:?} has no operation {operation}"))),
        };
        let answer = self.answer(service, request, &body).await?;
        // The result of an operation is below an element with its name.
        Ok(answer.get(format!("{operation}Result")).cloned().unwrap_or(answer))
    }

    /// Reads a path, for a service that is called in this way.
    pub(crate) async fn get(&self, service: Service, path: impl AsRef<str>) -> Result<Value, CallError> {
        self.answer(service, Request::get(self.endpoint(service) + path.as_ref()), "").await
    }

    /// Like the SDK's clients, this takes the endpoint of the service, or of all services, from the environment or the
    /// profile.
    fn endpoint(&self, service: Service) -> String {
        let (id, host, _) = service.api();
        let key = ServiceConfigKey::builder().service_id(id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let of_service = self.config.service_config().zip(key.ok()).and_then(|(config, key)| config.load_config(key));
        if let Some(url) = of_service.as_deref().or(self.config.endpoint_url()) {
            return url.trim_end_matches('/').to_owned();
        }
        let fips = if self.config.use_fips() == Some(true) { "-fips" } else { "" };
        let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{host}{fips}.{}.{suffix}", self.region)
    }

    async fn answer(&self, service: Service, request: http::request::Builder, body: &str) -> Result<Value, CallError> {
        let request = request
            .header("content-length", body.len())
            .header("user-agent", concat!("scalekit-events/", env!("CARGO_PKG_VERSION")))
            .body(body.to_owned())
            .map_err(|error| CallError::new("", &error.to_string()))?;
        let mut tries = 1;
        loop {
            let answer = timeout(REQUEST_TIME, self.send(service, request.clone())).await;
            let answer = answer.unwrap_or_else(|_| Err(CallError::transient("no answer in time")));
            match answer {
                Err(error) if error.can_pass && tries < TRIES => sleep(PAUSE * 2u32.pow(tries - 1)).await,
                answer => return answer,
            }
            tries += 1;
        }
    }

    async fn send(&self, service: Service, mut request: Request<String>) -> Result<Value, CallError> {
        self.sign(service, &mut request).map_err(|error| CallError::new("", &causes(&*error)))?;
        let request = request.map(SdkBody::from).try_into().map_err(|error| CallError::new("", &causes(&error)))?;
        let response = self.connector.call(request).await;
        let response = response.map_err(|error| CallError::transient(&causes(&error)))?;
        let status = response.status().as_u16();
        let error_type = response.headers().get("x-amzn-errortype").map(str::to_owned);
        let bytes = ByteStream::new(response.into_body()).collect().await;
        let bytes = bytes.map_err(|error| CallError::transient(&causes(&error)))?.into_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let answer = if text.starts_with('<') { xml(&text) } else { serde_json::from_str(&text).ok() };
        match answer {
            Some(answer) if (200..300).contains(&status) => Ok(answer),
            answer => Err(CallError::from_answer(status, error_type.as_deref(), &answer.unwrap_or_default())),
        }
    }

    fn sign(&self, service: Service, request: &mut Request<String>) -> Result<(), Box<dyn Error>> {
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service.api().1)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| Ok((name.as_str(), value.to_str()?)))
            .collect::<Result<_, http::header::ToStrError>>()?;
        let signable =
            SignableRequest::new(&method, &uri, headers.into_iter(), SignableBody::Bytes(request.body().as_bytes()))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct CallError {
    code: String,
    message: String,
    can_pass: bool,
}

impl CallError {
    fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned(), can_pass: false }
    }

    fn transient(message: &str) -> Self {
        Self { can_pass: true, ..Self::new("", message) }
    }

    fn from_answer(status: u16, error_type: Option<&str>, answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let error = &answer["Error"];
        let code = error_type.map(str::to_owned).or_else(|| text(&answer["__type"])).or_else(|| text(&error["Code"]));
        // Some services put a namespace before the code, or a URL after it.
        let code = code.unwrap_or_else(|| format!("HTTP {status}"));
        let code = code.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
        let message = text(&answer["message"]).or_else(|| text(&answer["Message"])).or_else(|| text(&error["Message"]));
        // This message can quote the signed request with its session token.
        let message = message.filter(|_| !code.contains("Signature")).unwrap_or_default();
        let can_pass = status >= 500 || status == 429 || code.contains("Throttl") || code.contains("TooManyRequests");
        Self { can_pass, ..Self::new(code, &message) }
    }

    /// Whether this says that something doesn't exist.
    pub(crate) fn is_not_found(&self) -> bool {
        let is_missing = |text: &str| ["NotFound", "NonExistent", "NoSuch"].iter().any(|part| text.contains(part));
        // CloudFormation has no code of its own for this.
        is_missing(&self.code) || self.code == "ValidationError" && self.message.contains("does not exist")
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.code.is_empty() || self.message.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.code, self.message)
    }
}

impl Error for CallError {}

/// Encodes a value of a form.
fn encode(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// The content of the outermost element as JSON. Elements with the name `member` or `entry` are a list.
fn xml(text: &str) -> Option<Value> {
    fn value(node: roxmltree::Node<'_, '_>) -> Value {
        let children: Vec<_> = node.children().filter(roxmltree::Node::is_element).collect();
        if children.is_empty() {
            return json!(node.text().unwrap_or_default());
        }
        if children.iter().all(|child| matches!(child.tag_name().name(), "member" | "entry")) {
            return children.into_iter().map(value).collect();
        }
        children.into_iter().map(|child| (child.tag_name().name().to_owned(), value(child))).collect()
    }
    Some(value(roxmltree::Document::parse(text).ok()?.root_element()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_becomes_json() {
        let answer = r#"<ListResponse xmlns="http://x/"><ListResult><Topics><member><Arn>a&amp;b</Arn></member><member><Arn/></member></Topics>
            <NextToken>t</NextToken></ListResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></ListResponse>"#;
        let expected = json!({
            "ListResult": {"Topics": [{"Arn": "a&b"}, {"Arn": ""}], "NextToken": "t"},
            "ResponseMetadata": {"RequestId": "1"},
        });
        assert_eq!(xml(answer), Some(expected));
        assert_eq!(xml("<html><br></html>"), None);
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(encode("arn:aws:sns:é/a b+c"), "arn%3Aaws%3Asns%3A%C3%A9%2Fa%20b%2Bc");
    }

    #[test]
    fn an_error_has_its_code_and_its_message() {
        for (status, error_type, answer, expected, can_pass, is_not_found) in [
            (
                400,
                None,
                json!({"__type": "com.amazonaws.kms#NotFoundException", "message": "m"}),
                "NotFoundException: m",
                false,
                true,
            ),
            (
                404,
                Some("ResourceNotFoundException:http://x"),
                json!({"Message": "m"}),
                "ResourceNotFoundException: m",
                false,
                true,
            ),
            (400, None, json!({"Error": {"Code": "Throttling", "Message": "m"}}), "Throttling: m", true, false),
            (
                400,
                None,
                json!({"Error": {"Code": "ValidationError", "Message": "Stack x does not exist"}}),
                "ValidationError: Stack x does not exist",
                false,
                true,
            ),
            (
                403,
                None,
                json!({"__type": "InvalidSignatureException", "message": "token"}),
                "InvalidSignatureException",
                false,
                false,
            ),
            (502, None, Value::Null, "HTTP 502", true, false),
        ] {
            let error = CallError::from_answer(status, error_type, &answer);
            assert_eq!(
                (error.to_string().as_str(), error.can_pass, error.is_not_found()),
                (expected, can_pass, is_not_found)
            );
        }
    }
}
