// Deploys a release, with a rule on its bus and with the permissions boundary that many organizations require.
//
//     npm ci
//     npx aws-cdk@2 deploy --context release=FOLDER --context boundary=POLICY
//
// FOLDER has the files of the release, and POLICY is the name of a managed policy in the account. This needs Node.js 22.18 or
// newer, which runs TypeScript without compiling it first.

import { readdirSync } from "node:fs";
import { join } from "node:path";

import { App, Stack, Token } from "aws-cdk-lib";
import { EventBus, Rule } from "aws-cdk-lib/aws-events";
import { SqsQueue } from "aws-cdk-lib/aws-events-targets";
import { ManagedPolicy, PermissionsBoundary } from "aws-cdk-lib/aws-iam";
import { Asset } from "aws-cdk-lib/aws-s3-assets";
import { Queue, RedrivePermission } from "aws-cdk-lib/aws-sqs";
import { CfnInclude } from "aws-cdk-lib/cloudformation-include";

const ARCHITECTURE = "arm64";

const app = new App();
const release: string = app.node.getContext("release");
const boundary: string = app.node.getContext("boundary");
const stack = new Stack(app, "scalekit", { description: "Scalekit's webhooks on an event bus" });

const [zip, ...others] = readdirSync(release).filter((name) => name.endsWith(`-${ARCHITECTURE}.zip`));
if (!zip || others.length > 0) {
  throw new Error(`${release} should have one file that ends with -${ARCHITECTURE}.zip`);
}
const code = new Asset(stack, "Code", { path: join(release, zip) });
const scalekit = new CfnInclude(stack, "Scalekit", {
  templateFile: join(release, "template.json"),
  // Parameters without a value here remain parameters of the stack.
  parameters: {
    CodeBucket: code.s3BucketName,
    CodeKey: code.s3ObjectKey,
    Architecture: ARCHITECTURE,
    LogRetentionDays: 30,
  },
});

// Without the policy, any queue of the account could name this one as its dead-letter queue, and fill it.
const queue = new Queue(stack, "ConnectionLiveQueue", {
  enforceSSL: true,
  redriveAllowPolicy: { redrivePermission: RedrivePermission.DENY_ALL },
});
const bus = EventBus.fromEventBusName(stack, "Bus", Token.asString(scalekit.getOutput("EventBusName").value));
new Rule(stack, "ConnectionLive", {
  eventBus: bus,
  eventPattern: { source: ["scalekit"], detailType: ["organization.sso_enabled"] },
  targets: [new SqsQueue(queue)],
});

// This is an aspect: it also reaches the roles of the included template.
PermissionsBoundary.of(stack).apply(ManagedPolicy.fromManagedPolicyName(stack, "Boundary", boundary));
