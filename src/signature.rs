//! Is this delivery authentic? [Standard Webhooks 1.0.0](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
//! an HMAC-SHA256 over the delivery's id, its timestamp and the body's bytes as received.
//!
//! A passed check is a [`Verified`]: nothing can be parsed that isn't one.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac, digest::CtOutput};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::queue::Message;

/// What a signing secret starts with; the standard base64 of the key follows.
const SECRET_PREFIX: &str = "whsec_";

/// What a `v1` signature starts with; the standard base64 of 32 bytes follows.
const SIGNATURE_PREFIX: &str = "v1,";

/// A signing key: the 24 to 64 bytes in a `whsec_` secret. `Debug` shows none of them; dropping it wipes them.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why a text is not a signing secret. It never holds a part of that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// It doesn't start with `whsec_`.
    Prefix,
    /// What follows the prefix isn't standard, padded base64.
    Base64,
    /// The key has this many bytes, not 24 to 64.
    Length(usize),
}

impl Key {
    /// Reads a `whsec_` secret.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn parse(secret: &str) -> Result<Self, KeyError> {
        let encoded = secret.strip_prefix(SECRET_PREFIX).ok_or(KeyError::Prefix)?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| KeyError::Base64)?);
        if !(24..=64).contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| KeyError::Length(bytes.len()))?;
        Ok(Self(mac))
    }

    /// Signs a delivery as the sender does: the value of `webhook-signature`. For senders and tests.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mac = self.mac(id, timestamp, body).into_bytes();
        format!("{SIGNATURE_PREFIX}{}", BASE64_STANDARD.encode(mac))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> CtOutput<Hmac<Sha256>> {
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
            Self::Prefix => write!(f, "does not start with `{SECRET_PREFIX}`"),
            Self::Base64 => write!(f, "is not standard, padded base64 after `{SECRET_PREFIX}`"),
            Self::Length(bytes) => write!(f, "holds a key of {bytes} bytes, not 24 to 64"),
        }
    }
}

impl std::error::Error for KeyError {}

/// A delivery as it came: three headers and the body's bytes, nothing of it believed yet.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// `webhook-id`
    pub id: Option<&'a str>,
    /// `webhook-timestamp`
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`
    pub signature: Option<&'a str>,
    /// The body as received, byte for byte.
    pub body: &'a [u8],
}

/// Why a delivery is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// This header is missing.
    Missing(&'static str),
    /// This header isn't of the form that the standard demands.
    Malformed(&'static str),
    /// No signature in the list is by any configured key.
    NoMatch,
    /// Signed by a configured key, but this many seconds away from our clock, more than is tolerated.
    Stale {
        /// How far the timestamp is from our clock, in seconds.
        off_by: u64,
    },
}

/// The body of an authentic delivery.
///
/// Its field is private, and only a passed signature or a message of our own queue makes it: holding one is the proof.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a> {
    body: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Checks the signature against every key, then the timestamp against `now`, both ways.
    ///
    /// # Errors
    /// [`SignatureError`] says why the delivery is not authentic.
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
        now: SystemTime,
        tolerance: Duration,
    ) -> Result<Verified<'a>, SignatureError> {
        let id = header("webhook-id", self.id, |id| !id.is_empty() && !id.contains('.'))?;
        let timestamp = header("webhook-timestamp", self.timestamp, |timestamp| {
            !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit())
        })?;
        let list = header("webhook-signature", self.signature, |_| true)?;

        // Signatures of other versions, and malformed ones, are skipped: a sender may add a new version beside v1.
        let signatures: Vec<_> = list.split(' ').filter_map(decode).collect();
        if signatures.is_empty() {
            return Err(SignatureError::Malformed("webhook-signature"));
        }
        // No early end: how long this takes depends on the number of keys and signatures alone.
        let mut authentic = false;
        for key in keys {
            let expected = key.mac(id, timestamp, self.body);
            for signature in &signatures {
                authentic |= expected == *signature;
            }
        }
        if !authentic {
            return Err(SignatureError::NoMatch);
        }

        // A number too large for a u64 is too far in the future.
        let timestamp = timestamp.parse().unwrap_or(u64::MAX);
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let off_by = now.abs_diff(timestamp);
        if off_by > tolerance.as_secs() {
            return Err(SignatureError::Stale { off_by });
        }
        Ok(Verified { body: self.body })
    }
}

impl<'a> Verified<'a> {
    /// The body of a message of our own queue: only what passed [`Delivery::verify`] is parked there, and the age of its
    /// signature says nothing any more. Who else may write to the queue is for its policy to say.
    #[must_use]
    pub fn parked(message: &'a Message<'_>) -> Self {
        Self { body: message.body().as_bytes() }
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
    well_formed: impl Fn(&str) -> bool,
) -> Result<&'a str, SignatureError> {
    let value = value.ok_or(SignatureError::Missing(name))?;
    if well_formed(value) { Ok(value) } else { Err(SignatureError::Malformed(name)) }
}

/// One entry of the list, if it is a well-formed `v1` signature.
fn decode(entry: &str) -> Option<CtOutput<Hmac<Sha256>>> {
    let encoded = entry.strip_prefix(SIGNATURE_PREFIX)?;
    // 32 bytes are 44 characters: nothing longer is worth decoding.
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
            Self::NoMatch => f.write_str("no signature matches"),
            Self::Stale { off_by } => write!(f, "the timestamp is {off_by} s away from now"),
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

    fn valid() -> Delivery<'static> {
        Delivery { id: Some(ID), timestamp: Some(TIMESTAMP), signature: Some(SIGNATURE), body: BODY }
    }

    /// The clock, as many seconds after the vector's timestamp.
    fn at(seconds: i64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_649_367_553_u64.checked_add_signed(seconds).unwrap())
    }

    #[track_caller]
    fn refused(delivery: Delivery<'_>, expected: SignatureError) {
        assert_eq!(delivery.verify(&[key(SECRET)], at(0), TOLERANCE).unwrap_err(), expected, "{delivery:?}");
    }

    #[test]
    fn the_standard_vector() {
        let verified = valid().verify(&[key(SECRET)], at(0), TOLERANCE).unwrap();
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
            let delivery = Delivery { signature: Some(&list), ..valid() };
            assert!(delivery.verify(&[key(SECRET)], at(0), TOLERANCE).is_ok(), "{list}");
        }
        for keys in [[key(SECRET), other_key()], [other_key(), key(SECRET)]] {
            assert!(valid().verify(&keys, at(0), TOLERANCE).is_ok());
        }
        assert_eq!(valid().verify(&[other_key()], at(0), TOLERANCE).unwrap_err(), SignatureError::NoMatch);
        assert_eq!(valid().verify([], at(0), TOLERANCE).unwrap_err(), SignatureError::NoMatch);
    }

    #[test]
    fn missing_and_malformed_headers() {
        use SignatureError::{Malformed, Missing, NoMatch};
        refused(Delivery { id: None, ..valid() }, Missing("webhook-id"));
        refused(Delivery { id: Some(""), ..valid() }, Malformed("webhook-id"));
        refused(Delivery { id: Some("msg_.1"), ..valid() }, Malformed("webhook-id"));
        refused(Delivery { id: Some("msg_1"), ..valid() }, NoMatch);
        refused(Delivery { timestamp: None, ..valid() }, Missing("webhook-timestamp"));
        for malformed in ["", "-1649367553", "+1649367553", "1649367553.0", " 1649367553", "0x62", "١٦٤٩"] {
            refused(Delivery { timestamp: Some(malformed), ..valid() }, Malformed("webhook-timestamp"));
        }
        refused(Delivery { signature: None, ..valid() }, Missing("webhook-signature"));
        for malformed in [
            "",
            " ",
            "v1",
            "v1,",
            &SIGNATURE[3..],
            &SIGNATURE[..46],
            "v1,tZ1I4",
            "v2,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ] {
            refused(Delivery { signature: Some(malformed), ..valid() }, Malformed("webhook-signature"));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for (at, bit) in (0..BODY.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut body = BODY.to_vec();
            body[at] ^= 1 << bit;
            refused(Delivery { body: &body, ..valid() }, SignatureError::NoMatch);
        }
        let mac = BASE64_STANDARD.decode(&SIGNATURE[3..]).unwrap();
        for (at, bit) in (0..32).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut mac = mac.clone();
            mac[at] ^= 1 << bit;
            let signature = format!("v1,{}", BASE64_STANDARD.encode(mac));
            refused(Delivery { signature: Some(&signature), ..valid() }, SignatureError::NoMatch);
        }
        // A flipped bit of the id or the timestamp is either malformed or no match: never authentic.
        for (at, bit) in (0..ID.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut id = ID.as_bytes().to_vec();
            id[at] ^= 1 << bit;
            let delivery = Delivery { id: Some(std::str::from_utf8(&id).unwrap()), ..valid() };
            assert!(delivery.verify(&[key(SECRET)], self::at(0), TOLERANCE).is_err(), "{delivery:?}");
        }
        for (at, bit) in (0..TIMESTAMP.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut timestamp = TIMESTAMP.as_bytes().to_vec();
            timestamp[at] ^= 1 << bit;
            let delivery = Delivery { timestamp: Some(std::str::from_utf8(&timestamp).unwrap()), ..valid() };
            assert!(delivery.verify(&[key(SECRET)], self::at(0), Duration::MAX).is_err(), "{delivery:?}");
        }
    }

    #[test]
    fn the_tolerance_holds_on_both_sides_and_includes_its_boundary() {
        let verify = |seconds| valid().verify(&[key(SECRET)], at(seconds), TOLERANCE).map(|_| ());
        assert_eq!(verify(300), Ok(()));
        assert_eq!(verify(301), Err(SignatureError::Stale { off_by: 301 }));
        assert_eq!(verify(-300), Ok(()));
        assert_eq!(verify(-301), Err(SignatureError::Stale { off_by: 301 }));
    }

    #[test]
    fn a_hostile_timestamp_overflows_nothing() {
        for (timestamp, off_by) in [
            ("0", 1_649_367_553),
            ("18446744073709551615", u64::MAX - 1_649_367_553),
            ("18446744073709551616", u64::MAX - 1_649_367_553),
            ("99999999999999999999999999999999999999999999", u64::MAX - 1_649_367_553),
        ] {
            let signature = key(SECRET).sign(ID, timestamp, BODY);
            refused(
                Delivery { timestamp: Some(timestamp), signature: Some(&signature), ..valid() },
                SignatureError::Stale { off_by },
            );
        }
    }

    #[test]
    fn a_stale_delivery_that_is_forged_is_told_nothing_about_the_clock() {
        let delivery = Delivery { timestamp: Some("1"), ..valid() };
        assert_eq!(delivery.verify(&[key(SECRET)], at(0), TOLERANCE).unwrap_err(), SignatureError::NoMatch);
    }

    #[test]
    fn secrets() {
        let of = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![1; bytes]));
        for bytes in [24, 64] {
            assert!(Key::parse(&of(bytes)).is_ok(), "{bytes}");
        }
        for (secret, expected) in [
            (String::new(), KeyError::Prefix),
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Prefix),
            ("WHSEC_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(), KeyError::Prefix),
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
    fn a_key_shows_nothing_of_itself() {
        assert_eq!(format!("{:?}", key(SECRET)), "Key(…)");
    }
}
