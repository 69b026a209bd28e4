//! A delivery: signs a body as Scalekit does, with the present time, and posts it.
//!
//! The signature is that of
//! [Standard Webhooks 1.0.0](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
//! This is not the function's own code, so that an error in it can't hide in both.

use std::{
    error::Error,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_smithy_http_client::{
    Connector, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, Uri};
use sha2::Sha256;

use crate::terminal::causes;

/// Where `make watch` listens.
pub(crate) const LOCAL: &str = "http://127.0.0.1:9000";

/// The secret of the samples, which is public. The function refuses it on Lambda.
pub(crate) const DEVELOPMENT_SECRET: &str = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";

/// How long a connection may take. A response may take longer: `make watch` compiles a function that was changed.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The most characters of a response that are kept.
const RESPONSE_CHARACTERS: usize = 4096;

/// Parses the URL of an endpoint on the command line.
pub(crate) fn parse_url(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    url.ok_or_else(|| format!("this should be a URL, such as {LOCAL}"))
}

/// The endpoint that deliveries are posted to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    url: Uri,
    connector: Connector,
}

/// The response to a delivery.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Endpoint {
    pub(crate) fn new(url: Uri) -> Self {
        let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIME).build();
        let connector = ConnectorBuilder::default().connector_settings(settings).proxy_config(ProxyConfig::from_env());
        let connector = connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        Self { url, connector }
    }

    /// Posts a body that is signed with this secret. Returns the delivery's id and the response.
    ///
    /// `number` has to be another one for each delivery, so that two deliveries never have the same id.
    ///
    /// # Errors
    /// If the secret can't be used, or no response arrives.
    pub(crate) async fn deliver(
        &self,
        secret: &str,
        number: u64,
        body: &[u8],
    ) -> Result<(String, Response), Box<dyn Error>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let id = format!("msg_{}", now.as_nanos() + u128::from(number));
        let timestamp = now.as_secs();
        let signature = sign(secret, &id, timestamp, body)
            .ok_or("the signing secret can't be used: it should be `whsec_` and base64")?;
        let headers = [
            ("webhook-id", id.clone()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ];
        Ok((id, self.post(&headers, body).await?))
    }

    /// Posts a body with these headers.
    ///
    /// # Errors
    /// If no response arrives.
    pub(crate) async fn post(
        &self,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Result<Response, Box<dyn Error>> {
        let mut request = Request::post(self.url.clone())
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .header("user-agent", concat!("scalekit-events/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(SdkBody::from(body))?.try_into()?;
        let explain = |error: &(dyn Error + 'static)| {
            format!("the delivery could not be posted to {}: {}", self.url, causes(error))
        };
        let response = self.connector.call(request).await.map_err(|error| explain(&error))?;
        let status = response.status().as_u16();
        let body = ByteStream::new(response.into_body());
        let body = body.collect().await.map_err(|error| explain(&error))?.into_bytes();
        let body = String::from_utf8_lossy(&body).chars().take(RESPONSE_CHARACTERS).collect();
        Ok(Response { status, body })
    }
}

/// Signs a delivery, and returns the value of `webhook-signature`. `None` if the secret isn't `whsec_` and base64.
fn sign(secret: &str, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_specification_says() {
        let id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            sign("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", id, 1_649_367_553, body).as_deref(),
            Some("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=")
        );
        assert_eq!(sign("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", id, 0, body), None);
        assert_eq!(sign("whsec_C2FVsBQ", id, 0, body), None);
    }
}
