//! The X-Ray trace header of an invocation or of a parked message. Whoever sends the request can choose it, so it may be
//! invalid.

/// The longest trace header that EventBridge accepts, in characters.
const MAX_LENGTH: usize = 500;

/// Returns the trace header if it is valid, and nothing otherwise: SQS may refuse a message with an invalid header, and a
/// trace matters less than the event.
///
/// [The format](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader) is a list
/// of `Key=value` with `;` between them. `Root` is required: `1-`, 8 hexadecimal digits, `-` and 24 of them.
#[must_use]
pub fn valid_header(header: &str) -> Option<&str> {
    let mut parts = header.strip_suffix(';').unwrap_or(header).split(';').map(str::trim_start);
    let mut roots = 0;
    let is_valid = header.len() <= MAX_LENGTH
        && parts.all(|part| {
            roots += usize::from(part.starts_with("Root="));
            is_valid_part(part)
        });
    (is_valid && roots == 1).then_some(header)
}

fn is_valid_part(part: &str) -> bool {
    match part.split_once('=') {
        Some(("Root" | "Self", id)) => is_trace_id(id),
        Some(("Parent", id)) => is_hex(id, 16),
        Some(("Sampled", sampled)) => matches!(sampled, "0" | "1" | "?"),
        // Lambda adds `Lineage`, and callers may add data of their own.
        Some((key, value)) => {
            !key.is_empty()
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":|.-_".contains(&byte))
        }
        None => false,
    }
}

fn is_trace_id(id: &str) -> bool {
    let parts = id.strip_prefix("1-").and_then(|id| id.split_once('-'));
    parts.is_some_and(|(time, random)| is_hex(time, 8) && is_hex(random, 24))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_headers_are_valid() {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        for header in [
            root.to_owned(),
            format!("{root};Parent=53995c3f42cd8ad8;Sampled=1"),
            format!("{root};Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2"),
            format!("Self=1-67891233-abcdef012345678912345678;{root}"),
            format!("{root};Sampled=?"),
            format!("{root}; Parent=53995c3f42cd8ad8; Sampled=1;"),
            format!("{root};TotalTimeSoFar=112ms;CalledFrom=app"),
            format!("{root};Key={}", "x".repeat(500 - root.len() - 5)),
        ] {
            assert_eq!(valid_header(&header), Some(&*header));
        }
    }

    #[test]
    fn malformed_headers_are_not_valid() {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        for header in [
            String::new(),
            "x".into(),
            "Sampled=1".into(),
            "Root=".into(),
            "Root=2-5759e988-bd862e3fe1be46a994272793".into(),
            "Root=1-5759e98-bd862e3fe1be46a994272793".into(),
            "Root=1-5759e988-bd862e3fe1be46a99427279".into(),
            "Root=1-5759e988-bd862e3fe1be46a99427279g".into(),
            "Root=1-5759e988-bd862e3fe1be46a994272793-1".into(),
            format!("{root};{root}"),
            format!("{root};Parent=1"),
            format!("{root};Parent=53995c3f42cd8adg"),
            format!("{root};Sampled=yes"),
            format!("{root};Self=1"),
            format!("{root};a"),
            format!("{root};=a"),
            format!("{root};;Sampled=1"),
            format!("{root};a=b c"),
            format!("{root};a=é"),
            format!("{root};é=a"),
            format!("{root};a=<b>"),
            format!("{root}\n"),
            format!("{root};Key={}", "x".repeat(501 - root.len() - 5)),
        ] {
            assert_eq!(valid_header(&header), None, "{header:?}");
        }
    }
}
