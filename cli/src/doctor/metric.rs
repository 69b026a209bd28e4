//! The points of a CloudWatch metric.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::aws::{Reader, Service};

/// A metric, and how its values within a period become one.
pub(super) struct Metric<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) dimensions: &'a [(&'a str, &'a str)],
    pub(super) statistic: &'a str,
    pub(super) period: Duration,
}

impl Metric<'_> {
    /// The values of the last time, the latest at the end. There are none if the metric can't be read.
    pub(super) async fn values(&self, reader: &Reader, window: Duration) -> Vec<f64> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let dimensions: Vec<_> =
            self.dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
        let input = json!({
            "Namespace": self.namespace,
            "MetricName": self.name,
            "Dimensions": dimensions,
            "StartTime": now.saturating_sub(window).as_secs(),
            "EndTime": now.as_secs(),
            "Period": self.period.as_secs(),
            "Statistics": [self.statistic],
        });
        let answer = reader.call(Service::CloudWatch, "GetMetricStatistics", input).await.unwrap_or_default();
        let points = answer["Datapoints"].as_array().into_iter().flatten();
        let point = |point: &Value| Some((point["Timestamp"].as_f64()?, point[self.statistic].as_f64()?));
        let mut points: Vec<_> = points.filter_map(point).collect();
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        points.into_iter().map(|(_, value)| value).collect()
    }
}
