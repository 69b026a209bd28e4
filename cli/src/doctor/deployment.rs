//! The stack: its parameters, its outputs and its state.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::finding::Finding;
use crate::aws::{Aws, Reader, Service};

/// The repository that contains the documentation.
pub(super) const REPOSITORY: &str = "scalekit-eventbridge";

/// The outputs that every stack of the template has.
const OUTPUTS: [&str; 8] = [
    "WebhookUrl",
    "SecretArn",
    "EventBusName",
    "EventBusArn",
    "FunctionName",
    "AlarmTopicArn",
    "ParkingQueueUrl",
    "DeadLetterQueueUrl",
];

/// A deployed stack.
pub(super) struct Deployment<'a> {
    pub(super) aws: &'a Aws,
    pub(super) reader: Reader,
    /// The name of the stack.
    pub(super) name: String,
    /// The account of the stack.
    pub(super) account: String,
    status: String,
    parameters: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
}

impl<'a> Deployment<'a> {
    pub(super) async fn read(aws: &'a Aws, stack: &str) -> Result<Self, Box<Finding>> {
        let failed = |error: String| Box::new(Finding::unknown("stack", "DescribeStacks", error));
        let reader = aws.reader().await.map_err(failed)?;
        let answer = match reader.call(Service::CloudFormation, "DescribeStacks", json!({"StackName": stack})).await {
            Err(error) if error.is_not_found() => {
                let finding = Finding::broken("stack", format!("there is no stack {stack} in this account and region"));
                let advice = "Check the name, AWS_PROFILE and AWS_REGION, or deploy the stack";
                return Err(Box::new(finding.advise(advice, "README.md#deploy")));
            }
            answer => answer.map_err(|error| failed(error.to_string()))?,
        };
        let stack_members = &answer["Stacks"][0];
        let text = |name: &str| stack_members[name].as_str().unwrap_or_default().to_owned();
        let pairs = |list: &str, key: &str, value: &str| {
            let list = stack_members[list].as_array().into_iter().flatten();
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            list.map(|it| (text(&it[key]), text(&it[value]))).collect::<BTreeMap<_, _>>()
        };
        let deployment = Self {
            aws,
            reader,
            name: text("StackName"),
            account: text("StackId").split(':').nth(4).unwrap_or_default().to_owned(),
            status: text("StackStatus"),
            parameters: pairs("Parameters", "ParameterKey", "ParameterValue"),
            outputs: pairs("Outputs", "OutputKey", "OutputValue"),
        };
        match OUTPUTS.iter().find(|name| !deployment.outputs.contains_key(**name)) {
            None => Ok(deployment),
            Some(missing) => {
                let text = format!("the stack {stack} is {} and has no output {missing}", deployment.status);
                let advice =
                    "Name a stack of this project's template. If its creation failed, delete it and create it again";
                Err(Box::new(Finding::broken("stack", text).advise(advice, "README.md#deploy")))
            }
        }
    }

    /// An output. It is empty if the stack doesn't have it.
    pub(super) fn output(&self, name: &str) -> &str {
        self.outputs.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter. It is empty if the stack doesn't have it.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The URL of the documentation, or the name of the repository that contains it.
    pub(super) fn documentation(&self) -> &str {
        Some(self.parameter("DocumentationUrl")).filter(|url| !url.is_empty()).unwrap_or(REPOSITORY)
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.parameter(name).parse().unwrap_or(0)
    }

    pub(super) fn finding(&self) -> Finding {
        let text = format!("{} is {}, version {}", self.name, self.status, self.output("Version"));
        match self.status.as_str() {
            status if status.ends_with("IN_PROGRESS") => {
                Finding::warning("stack", text).advise("Wait until it has finished", "docs/releases.md#upgrading")
            }
            status if status.contains("ROLLBACK") || status.ends_with("FAILED") => Finding::warning("stack", text)
                .advise("Read the stack's events to find out why it failed", "docs/releases.md#upgrading"),
            _ => Finding::ok("stack", text),
        }
    }
}
