//! The signature of a delivery, as in
//! [Standard Webhooks 1.0.0](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
//! an HMAC-SHA256 over the delivery's id, its timestamp and the body's bytes as received.
//!
//! A passed check returns [`Verified`], and only that can be parsed.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac, digest::CtOutput};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::parked::Message;

/// The prefix of a signing secret. The standard base64 of the key follows.
pub const SECRET_PREFIX: &str = "whsec_";

/// The prefixes of the keys of Standard Webhooks: of signing secrets, and of Ed25519's private and public keys.
pub const KEY_PREFIXES: [&str; 3] = [SECRET_PREFIX, "whsk_", "whpk_"];

/// The version of an HMAC-SHA256, in a signature's prefix.
pub const VERSION: &str = "v1";

/// The prefix of a `v1` signature. The standard base64 of 32 bytes follows.
const SIGNATURE_PREFIX: &str = "v1,";

/// A signing key: the 24 to 64 bytes in a `whsec_` secret. `Debug` doesn't show them, and dropping the key wipes them.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why a text is not a signing secret. The error contains no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// It doesn't start with `whsec_`.
    Prefix,
    /// It is an Ed25519 key (`whsk_…` or `whpk_…`).
    Ed25519,
    /// It is just `v1`. Somebody wrote `v1,` in front of the secret, and a list of secrets is split at commas.
    VersionPrefix,
    /// The text after the prefix isn't standard, padded base64.
    Base64,
    /// The length of the key in bytes, which is not 24 to 64.
    Length(usize),
}

impl Key {
    /// Parses a `whsec_` secret.
    ///
    /// # Errors
    /// [`KeyError`] if it isn't one.
    pub fn parse(secret: &str) -> Result<Self, KeyError> {
        let encoded = secret.strip_prefix(SECRET_PREFIX).ok_or_else(|| match secret {
            _ if KEY_PREFIXES.iter().any(|prefix| secret.starts_with(prefix)) => KeyError::Ed25519,
            VERSION => KeyError::VersionPrefix,
            _ => KeyError::Prefix,
        })?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| KeyError::Base64)?);
        if !(24..=64).contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| KeyError::Length(bytes.len()))?;
        Ok(Self(mac))
    }

    /// Signs a delivery as the sender does, and returns the value of `webhook-signature`. For senders and tests.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mac = self.mac(id, timestamp, body).into_bytes();
        format!("{SIGNATURE_PREFIX}{}", BASE64_STANDARD.encode(mac))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Signature {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => write!(f, "it does not start with `{SECRET_PREFIX}`"),
            Self::Ed25519 => write!(
                f,
                "it is an Ed25519 key, and those are not supported; the endpoint must sign with a secret that starts \
                 with `{SECRET_PREFIX}`"
            ),
            Self::VersionPrefix => write!(f, "it is `v1`; remove `v1,` before the secret"),
            Self::Base64 => write!(f, "it is not standard, padded base64 after `{SECRET_PREFIX}`"),
            Self::Length(bytes) => write!(f, "its key has {bytes} bytes instead of 24 to 64"),
        }
    }
}

impl std::error::Error for KeyError {}

/// A delivery whose signature headers are well-formed. Nothing else is known about it yet.
#[derive(Debug)]
pub struct Delivery<'a> {
    id: &'a str,
    timestamp: &'a str,
    /// The header's well-formed `v1` signatures: at least one.
    signatures: Vec<Signature>,
    body: &'a [u8],
}

/// An HMAC-SHA256. Comparing two takes the same time whether they are equal or not.
type Signature = CtOutput<Hmac<Sha256>>;

/// Why a delivery is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// This header is missing.
    Missing(&'static str),
    /// This header doesn't have the form that Standard Webhooks requires.
    Malformed(&'static str),
    /// The header has no `v1` signature.
    NoV1,
    /// The header has Ed25519 signatures (`v1a`) and no `v1` signature.
    Ed25519,
    /// No configured key made any of the signatures.
    NoMatch,
    /// A configured key made the signature, but the timestamp differs from our clock by more than the tolerance.
    Stale {
        /// The difference in seconds.
        off_by: u64,
    },
}

/// The body of an authentic delivery.
///
/// Only a passed check of the signature, or a message of our parking queue, makes one: having it is the proof.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a> {
    body: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// A delivery with the values of `webhook-id`, `webhook-timestamp` and `webhook-signature`, and the body as received.
    ///
    /// Signatures of other versions, and malformed ones, are skipped: a sender may add a new version beside `v1`.
    ///
    /// # Errors
    /// [`SignatureError`] if a header is missing or malformed, or there is no `v1` signature.
    pub fn new(
        id: Option<&'a str>,
        timestamp: Option<&'a str>,
        signature: Option<&'a str>,
        body: &'a [u8],
    ) -> Result<Self, SignatureError> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let id = header("webhook-id", id, |id| !id.is_empty() && !id.contains('.'))?;
        let timestamp = header("webhook-timestamp", timestamp, is_digits)?;
        let list = signature.ok_or(SignatureError::Missing("webhook-signature"))?;
        let signatures: Vec<_> = list.split(' ').filter_map(decode_signature).collect();
        if signatures.is_empty() {
            let has = |prefix| list.split(' ').any(|entry| entry.starts_with(prefix));
            return Err(match () {
                () if has(SIGNATURE_PREFIX) => SignatureError::Malformed("webhook-signature"),
                () if has("v1a,") => SignatureError::Ed25519,
                () => SignatureError::NoV1,
            });
        }
        Ok(Self { id, timestamp, signatures, body })
    }

    /// Checks the signatures against every key, then the timestamp against `now`, in both directions.
    ///
    /// # Errors
    /// [`SignatureError::NoMatch`] or [`SignatureError::Stale`].
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
        now: SystemTime,
        tolerance: Duration,
    ) -> Result<Verified<'a>, SignatureError> {
        // Every key is compared with every signature, so the time depends only on their numbers.
        let mut is_authentic = false;
        for key in keys {
            let expected = key.mac(self.id, self.timestamp, self.body);
            for signature in &self.signatures {
                is_authentic |= expected == *signature;
            }
        }
        if !is_authentic {
            return Err(SignatureError::NoMatch);
        }

        // A number too large for a u64 is too far in the future.
        let timestamp = self.timestamp.parse().unwrap_or(u64::MAX);
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let off_by = now.abs_diff(timestamp);
        if off_by > tolerance.as_secs() {
            return Err(SignatureError::Stale { off_by });
        }
        Ok(Verified { body: self.body })
    }
}

impl<'a> Verified<'a> {
    /// The body of a message of our parking queue. Its signature was verified before it was parked, and is not verified again,
    /// because the message doesn't have it. The queue's policy and the account's IAM decide who else may write to the queue.
    #[must_use]
    pub fn before_parking(message: &'a Message<'_>) -> Self {
        Self { body: message.body() }
    }

    /// The body's bytes.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

fn header<'a>(
    name: &'static str,
    value: Option<&'a str>,
    is_well_formed: impl Fn(&str) -> bool,
) -> Result<&'a str, SignatureError> {
    let value = value.ok_or(SignatureError::Missing(name))?;
    if is_well_formed(value) { Ok(value) } else { Err(SignatureError::Malformed(name)) }
}

/// The signature of a list entry, if the entry is a well-formed `v1` signature.
fn decode_signature(entry: &str) -> Option<Signature> {
    let encoded = entry.strip_prefix(SIGNATURE_PREFIX)?;
    // 32 bytes are 44 characters, so don't decode anything longer.
    if encoded.len() != 44 {
        return None;
    }
    let bytes: [u8; 32] = BASE64_STANDARD.decode(encoded).ok()?.try_into().ok()?;
    Some(CtOutput::new(bytes.into()))
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(header) => write!(f, "the `{header}` header is missing"),
            Self::Malformed(header) => write!(f, "the `{header}` header is malformed"),
            Self::NoV1 => f.write_str("the `webhook-signature` header has no v1 signature"),
            Self::Ed25519 => f.write_str(
                "the `webhook-signature` header has Ed25519 signatures (v1a), which are not supported, and no v1 signature; \
                 the endpoint must sign with a secret that starts with `whsec_`",
            ),
            Self::NoMatch => f.write_str("no signature matches"),
            Self::Stale { off_by } => write!(f, "the timestamp differs from the function's clock by {off_by} s"),
        }
    }
}

impl std::error::Error for SignatureError {}

#[cfg(test)]
mod tests {
    use super::*;

    // The Standard Webhooks test vector.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const TIMESTAMP: &str = "1649367553";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    const TOLERANCE: Duration = Duration::from_mins(5);

    fn key(secret: &str) -> Key {
        Key::parse(secret).unwrap()
    }

    fn other_key() -> Key {
        key(&format!("whsec_{}", BASE64_STANDARD.encode([7; 24])))
    }

    /// The standard vector, which tests change.
    #[derive(Debug, Clone, Copy)]
    struct Input<'a> {
        id: Option<&'a str>,
        timestamp: Option<&'a str>,
        signature: Option<&'a str>,
        body: &'a [u8],
    }

    const VALID: Input<'static> =
        Input { id: Some(ID), timestamp: Some(TIMESTAMP), signature: Some(SIGNATURE), body: BODY };

    impl<'a> Input<'a> {
        fn verify(&self, keys: &[Key], now: SystemTime, tolerance: Duration) -> Result<Verified<'a>, SignatureError> {
            Delivery::new(self.id, self.timestamp, self.signature, self.body)?.verify(keys, now, tolerance)
        }
    }

    /// The time this number of seconds after the timestamp of the vector.
    fn at(seconds: i64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_649_367_553_u64.checked_add_signed(seconds).unwrap())
    }

    #[track_caller]
    fn refused(delivery: Input<'_>, expected: SignatureError) {
        assert_eq!(delivery.verify(&[key(SECRET)], at(0), TOLERANCE).unwrap_err(), expected, "{delivery:?}");
    }

    #[test]
    fn the_standard_vector_is_verified() {
        let verified = VALID.verify(&[key(SECRET)], at(0), TOLERANCE).unwrap();
        assert_eq!(verified.body(), BODY);
        assert_eq!(key(SECRET).sign(ID, TIMESTAMP, BODY), SIGNATURE);
    }

    #[test]
    fn any_key_and_any_signature_may_match() {
        let other = other_key().sign(ID, TIMESTAMP, BODY);
        for list in [
            format!("{SIGNATURE} {other}"),
            format!("{other} {SIGNATURE}"),
            format!("v1,short v1a,{} v2,{SIGNATURE} nonsense  {SIGNATURE}", &SIGNATURE[3..]),
        ] {
            let delivery = Input { signature: Some(&list), ..VALID };
            assert!(delivery.verify(&[key(SECRET)], at(0), TOLERANCE).is_ok(), "{list}");
        }
        for keys in [[key(SECRET), other_key()], [other_key(), key(SECRET)]] {
            assert!(VALID.verify(&keys, at(0), TOLERANCE).is_ok());
        }
        assert_eq!(VALID.verify(&[other_key()], at(0), TOLERANCE).unwrap_err(), SignatureError::NoMatch);
        assert_eq!(VALID.verify(&[], at(0), TOLERANCE).unwrap_err(), SignatureError::NoMatch);
    }

    #[test]
    fn missing_and_malformed_headers_are_refused() {
        use SignatureError::{Ed25519, Malformed, Missing, NoMatch, NoV1};
        refused(Input { id: None, ..VALID }, Missing("webhook-id"));
        refused(Input { id: Some(""), ..VALID }, Malformed("webhook-id"));
        refused(Input { id: Some("msg_.1"), ..VALID }, Malformed("webhook-id"));
        refused(Input { id: Some("msg_1"), ..VALID }, NoMatch);
        refused(Input { timestamp: None, ..VALID }, Missing("webhook-timestamp"));
        for malformed in ["", "-1649367553", "+1649367553", "1649367553.0", " 1649367553", "0x62", "١٦٤٩"] {
            refused(Input { timestamp: Some(malformed), ..VALID }, Malformed("webhook-timestamp"));
        }
        refused(Input { signature: None, ..VALID }, Missing("webhook-signature"));
        for (signature, expected) in [
            ("v1,", Malformed("webhook-signature")),
            (&SIGNATURE[..46], Malformed("webhook-signature")),
            ("v1,tZ1I4", Malformed("webhook-signature")),
            ("v1a,AAAA v1,tZ1I4", Malformed("webhook-signature")),
            ("", NoV1),
            (" ", NoV1),
            ("v1", NoV1),
            (&SIGNATURE[3..], NoV1),
            ("v2,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", NoV1),
            ("t=1649367553,v1=00", NoV1),
            ("v1a,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", Ed25519),
            ("v2,AAAA v1a,AAAA", Ed25519),
        ] {
            refused(Input { signature: Some(signature), ..VALID }, expected);
        }
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        for (at, bit) in (0..BODY.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut body = BODY.to_vec();
            body[at] ^= 1 << bit;
            refused(Input { body: &body, ..VALID }, SignatureError::NoMatch);
        }
        let mac = BASE64_STANDARD.decode(&SIGNATURE[3..]).unwrap();
        for (at, bit) in (0..32).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut mac = mac.clone();
            mac[at] ^= 1 << bit;
            let signature = format!("v1,{}", BASE64_STANDARD.encode(mac));
            refused(Input { signature: Some(&signature), ..VALID }, SignatureError::NoMatch);
        }
        // A flipped bit of the id or the timestamp is either malformed or no match: never authentic.
        for (at, bit) in (0..ID.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut id = ID.as_bytes().to_vec();
            id[at] ^= 1 << bit;
            let delivery = Input { id: Some(std::str::from_utf8(&id).unwrap()), ..VALID };
            assert!(delivery.verify(&[key(SECRET)], self::at(0), TOLERANCE).is_err(), "{delivery:?}");
        }
        for (at, bit) in (0..TIMESTAMP.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut timestamp = TIMESTAMP.as_bytes().to_vec();
            timestamp[at] ^= 1 << bit;
            let delivery = Input { timestamp: Some(std::str::from_utf8(&timestamp).unwrap()), ..VALID };
            assert!(delivery.verify(&[key(SECRET)], self::at(0), Duration::MAX).is_err(), "{delivery:?}");
        }
    }

    #[test]
    fn the_tolerance_is_inclusive_and_applies_in_both_directions() {
        let verify = |seconds| VALID.verify(&[key(SECRET)], at(seconds), TOLERANCE).map(|_| ());
        assert_eq!(verify(300), Ok(()));
        assert_eq!(verify(301), Err(SignatureError::Stale { off_by: 301 }));
        assert_eq!(verify(-300), Ok(()));
        assert_eq!(verify(-301), Err(SignatureError::Stale { off_by: 301 }));
    }

    #[test]
    fn a_hostile_timestamp_does_not_overflow() {
        for (timestamp, off_by) in [
            ("0", 1_649_367_553),
            ("18446744073709551615", u64::MAX - 1_649_367_553),
            ("18446744073709551616", u64::MAX - 1_649_367_553),
            ("99999999999999999999999999999999999999999999", u64::MAX - 1_649_367_553),
        ] {
            let signature = key(SECRET).sign(ID, timestamp, BODY);
            refused(
                Input { timestamp: Some(timestamp), signature: Some(&signature), ..VALID },
                SignatureError::Stale { off_by },
            );
        }
    }

    #[test]
    fn the_timestamp_is_checked_after_the_signature() {
        let delivery = Input { timestamp: Some("1"), ..VALID };
        assert_eq!(delivery.verify(&[key(SECRET)], at(0), TOLERANCE).unwrap_err(), SignatureError::NoMatch);
    }

    #[test]
    fn only_whsec_secrets_of_24_to_64_bytes_are_keys() {
        let of = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![1; bytes]));
        for bytes in [24, 64] {
            assert!(Key::parse(&of(bytes)).is_ok(), "{bytes}");
        }
        for (secret, expected) in [
            (String::new(), KeyError::Prefix),
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Prefix),
            ("WHSEC_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Prefix),
            ("v1,C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Prefix),
            ("v1".into(), KeyError::VersionPrefix),
            ("whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Ed25519),
            ("whpk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Ed25519),
            ("whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD".into(), KeyError::Base64),
            (of(25).trim_end_matches('=').into(), KeyError::Base64),
            ("whsec_".into(), KeyError::Length(0)),
            (of(23), KeyError::Length(23)),
            (of(65), KeyError::Length(65)),
        ] {
            assert_eq!(Key::parse(&secret).unwrap_err(), expected, "{secret}");
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert_eq!(format!("{:?}", key(SECRET)), "Key(…)");
    }
}
