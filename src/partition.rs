//! AWS's partitions. A region's partition is a part of every ARN, and determines the hosts of the region's endpoints.

/// The start of the names of a partition's regions, the partition's name, and the domains of its standard and its dual-stack
/// endpoints. The SDK has the same table, but not in public. It, too, treats any other region as one of the partition `aws`.
const PARTITIONS: [(&str, &str, [&str; 2]); 8] = [
    ("cn-", "aws-cn", ["amazonaws.com.cn", "api.amazonwebservices.com.cn"]),
    ("eu-isoe-", "aws-iso-e", ["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"]),
    ("eusc-", "aws-eusc", ["amazonaws.eu", "api.amazonwebservices.eu"]),
    ("us-gov-", "aws-us-gov", ["amazonaws.com", "api.aws"]),
    ("us-iso-", "aws-iso", ["c2s.ic.gov", "api.aws.ic.gov"]),
    ("us-isob-", "aws-iso-b", ["sc2s.sgov.gov", "api.aws.scloud"]),
    ("us-isof-", "aws-iso-f", ["csp.hci.ic.gov", "api.aws.hci.ic.gov"]),
    ("", "aws", ["amazonaws.com", "api.aws"]),
];

/// What the host in the URL of a queue names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqsHost {
    /// SQS in the region.
    InRegion,
    /// A VPC endpoint of SQS in the region.
    VpcEndpoint,
    /// SQS in another region or partition, or another service of AWS.
    Elsewhere,
    /// A host that isn't AWS's, such as an emulator.
    NotAws,
}

/// The partition of a region.
#[must_use]
pub fn of(region: &str) -> &'static str {
    entry(region).0
}

/// What a host, with or without a port, names for a function in this region.
#[must_use]
pub fn sqs_host(host: &str, region: &str) -> SqsHost {
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let (_, domains) = entry(region);
    let [standard, _] = domains;
    let is_endpoint =
        |domain: &&str| host == format!("sqs.{region}.{domain}") || host == format!("sqs-fips.{region}.{domain}");
    // Older SDKs use these hosts: https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
    let is_legacy =
        host == format!("{region}.queue.{standard}") || (region == "us-east-1" && host == "queue.amazonaws.com");
    if domains.iter().any(is_endpoint) || is_legacy {
        return SqsHost::InRegion;
    }
    if host.starts_with("vpce-") && host.ends_with(&format!(".sqs.{region}.vpce.{standard}")) {
        return SqsHost::VpcEndpoint;
    }
    let is_aws =
        PARTITIONS.iter().flat_map(|(.., domains)| domains).any(|domain| host.ends_with(&format!(".{domain}")));
    // Emulators imitate the hosts of SQS.
    let names_other_region = match host.split('.').collect::<Vec<_>>()[..] {
        ["sqs" | "sqs-fips", other, ..] | [other, "queue", ..] => is_region(other) && other != region,
        _ => false,
    };
    if is_aws || names_other_region { SqsHost::Elsewhere } else { SqsHost::NotAws }
}

/// Whether a text has the form of a region's name, such as `eu-central-1`.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split('-').collect::<Vec<_>>()[..] {
        [area, ref words @ .., number] => {
            is_word(area) && !words.is_empty() && words.iter().all(|word| is_word(word)) && is_number(number)
        }
        _ => false,
    }
}

fn entry(region: &str) -> (&'static str, [&'static str; 2]) {
    let found = PARTITIONS.iter().find(|(start, ..)| region.starts_with(start));
    found.map_or(("aws", ["amazonaws.com", "api.aws"]), |(_, name, domains)| (*name, *domains))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_a_partition() {
        for (region, partition) in [
            ("eu-central-1", "aws"),
            ("us-east-1", "aws"),
            ("us-gov-west-1", "aws-us-gov"),
            ("cn-north-1", "aws-cn"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
            ("xx-new-1", "aws"),
        ] {
            assert_eq!(of(region), partition, "{region}");
            assert!(is_region(region), "{region}");
        }
    }

    #[test]
    fn a_region_has_words_and_a_number() {
        for text in
            ["", "-", "eu", "eu-1", "eu-central", "eu-central-", "eu-central-1a", "EU-central-1", "eu--1", "-a-1"]
        {
            assert!(!is_region(text), "{text}");
        }
    }

    #[test]
    fn a_host_names_sqs_in_the_region_or_elsewhere() {
        use SqsHost::{Elsewhere, InRegion, NotAws, VpcEndpoint};
        for (region, host, expected) in [
            ("eu-central-1", "sqs.eu-central-1.amazonaws.com", InRegion),
            ("eu-central-1", "SQS.eu-central-1.AmazonAWS.com", InRegion),
            ("eu-central-1", "sqs.eu-central-1.amazonaws.com:443", InRegion),
            ("eu-central-1", "sqs-fips.eu-central-1.amazonaws.com", InRegion),
            ("eu-central-1", "sqs.eu-central-1.api.aws", InRegion),
            ("eu-central-1", "sqs-fips.eu-central-1.api.aws", InRegion),
            ("eu-central-1", "eu-central-1.queue.amazonaws.com", InRegion),
            ("us-east-1", "queue.amazonaws.com", InRegion),
            ("us-east-1", "us-east-1.queue.amazonaws.com", InRegion),
            ("us-gov-west-1", "sqs.us-gov-west-1.amazonaws.com", InRegion),
            ("cn-north-1", "sqs.cn-north-1.amazonaws.com.cn", InRegion),
            ("cn-north-1", "sqs.cn-north-1.api.amazonwebservices.com.cn", InRegion),
            ("us-iso-east-1", "sqs.us-iso-east-1.c2s.ic.gov", InRegion),
            ("eu-central-1", "vpce-0a1b2c-3d4e.sqs.eu-central-1.vpce.amazonaws.com", VpcEndpoint),
            ("cn-north-1", "vpce-0a1b2c-3d4e.sqs.cn-north-1.vpce.amazonaws.com.cn", VpcEndpoint),
            ("eu-central-1", "sqs.eu-west-1.amazonaws.com", Elsewhere),
            ("eu-central-1", "sqs-fips.us-east-1.amazonaws.com", Elsewhere),
            ("eu-central-1", "sqs.eu-west-1.api.aws", Elsewhere),
            ("eu-central-1", "eu-west-1.queue.amazonaws.com", Elsewhere),
            ("eu-central-1", "queue.amazonaws.com", Elsewhere),
            ("eu-central-1", "vpce-0a1b2c-3d4e.sqs.eu-west-1.vpce.amazonaws.com", Elsewhere),
            ("eu-central-1", "vpce-0a1b2c-3d4e.events.eu-central-1.vpce.amazonaws.com", Elsewhere),
            ("eu-central-1", "sns.eu-central-1.amazonaws.com", Elsewhere),
            ("eu-central-1", "sqs.eu-central-1.amazonaws.com.cn", Elsewhere),
            ("cn-north-1", "sqs.cn-north-1.amazonaws.com", Elsewhere),
            ("eu-central-1", "sqs.us-iso-east-1.c2s.ic.gov", Elsewhere),
            ("eu-central-1", "sqs.us-east-1.localhost.localstack.cloud:4566", Elsewhere),
            ("eu-central-1", "us-east-1.queue.localhost.localstack.cloud:4566", Elsewhere),
            ("us-east-1", "sqs.us-east-1.localhost.localstack.cloud:4566", NotAws),
            ("eu-central-1", "localhost:4566", NotAws),
            ("eu-central-1", "127.0.0.1:4566", NotAws),
            ("eu-central-1", "sqs.local", NotAws),
            ("eu-central-1", "sqs.eu-central-1.amazonaws.com.evil.example", NotAws),
            ("eu-central-1", "notamazonaws.com", NotAws),
            ("eu-central-1", "sqs.eu-central-1.notamazonaws.com", NotAws),
        ] {
            assert_eq!(sqs_host(host, region), expected, "{host} in {region}");
        }
    }
}
