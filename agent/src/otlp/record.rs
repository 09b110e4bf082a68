//! A diagnosis as an OpenTelemetry log record. Names of attributes are those of OpenTelemetry's semantic conventions
//! where it has them, the Elastic Common Schema's for the Community ID, and `tcpwhy.*` for what is this program's own.

use agent_diagnose::{Diagnosed, Phase};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::schema::flow::community_id;
use crate::schema::{Diagnosis, PlaceNames};

/// Name of all records, by which a store distinguishes them from others.
const EVENT: &str = "tcpwhy.diagnosis";

/// What all records of an agent have in common.
pub(super) fn resource(host: &str, node: Option<&str>) -> Resource {
    let mut attributes = Attributes::default();
    attributes.text("service.name", "tcpwhy");
    attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    attributes.text("host.name", host);
    attributes.some("k8s.node.name", node);
    Resource { attributes: attributes.0, ..Resource::default() }
}

/// One message.
pub(super) fn request(resource: &Resource, records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope = InstrumentationScope {
        name: "tcpwhy".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let logs = ScopeLogs { scope: Some(scope), log_records: records, ..ScopeLogs::default() };
    let logs =
        ResourceLogs { resource: Some(resource.clone()), scope_logs: vec![logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}

/// `observed`: the wall clock now, ns since 1970 UTC.
pub(super) fn record(diagnosed: &Diagnosed, observed: u64) -> LogRecord {
    let diagnosis = Diagnosis::new(diagnosed);
    let severity = match diagnosis.phase {
        Phase::Died => SeverityNumber::Error,
        Phase::Stalled => SeverityNumber::Warn,
        Phase::Recovered => SeverityNumber::Info,
    };
    LogRecord {
        time_unix_nano: u64::try_from(diagnosed.realtime).unwrap_or(0),
        observed_time_unix_nano: observed,
        severity_number: severity.into(),
        severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
        body: Some(text(&diagnosis.summary)),
        event_name: EVENT.to_owned(),
        attributes: attributes(&diagnosis).0,
        ..LogRecord::default()
    }
}

fn attributes(diagnosis: &Diagnosis) -> Attributes {
    let Diagnosis { local, remote, .. } = diagnosis;
    let mut to = Attributes::default();
    to.text("tcpwhy.cause", diagnosis.cause.as_str());
    to.text("tcpwhy.phase", phase(diagnosis.phase));
    to.some("tcpwhy.connection.id", diagnosis.connection.as_deref());
    to.some("tcpwhy.connection.shared_id", diagnosis.shared_id.as_deref());
    to.some("tcpwhy.connection.peer_id", diagnosis.peer.as_deref());
    to.text("network.community_id", &community_id(local.socket_address(), remote.socket_address()));
    to.text("network.transport", "tcp");
    to.text("network.type", if local.address.is_ipv4() { "ipv4" } else { "ipv6" });
    to.text("network.local.address", &local.address.to_string());
    to.number("network.local.port", local.port.into());
    to.text("network.peer.address", &remote.address.to_string());
    to.number("network.peer.port", remote.port.into());
    to.number("tcpwhy.netns", diagnosis.netns.into());
    if let Some(process) = &diagnosis.process {
        to.number("process.pid", process.pid.into());
        to.text("process.command", &process.comm);
    }
    to.texts("tcpwhy.evidence", diagnosis.evidence.iter().map(|evidence| &*evidence.text));
    to.texts("tcpwhy.advice", diagnosis.advice.iter().map(String::as_str));
    if let Some(place) = &diagnosis.place {
        place_attributes(place, &mut to);
    }
    to
}

fn place_attributes(place: &PlaceNames, to: &mut Attributes) {
    let PlaceNames { namespace, pod, pod_uid, workload, container, container_id, unit, inferred: _ } = place;
    to.some("k8s.namespace.name", namespace.as_deref());
    to.some("k8s.pod.name", pod.as_deref());
    to.some("k8s.pod.uid", pod_uid.as_deref());
    to.some(if pod_uid.is_some() { "k8s.container.name" } else { "container.name" }, container.as_deref());
    to.some("container.id", container_id.as_deref());
    to.some("tcpwhy.unit", unit.as_deref());
    if let Some(workload) = workload {
        // `k8s.deployment.name`, `k8s.statefulset.name`, ...
        to.text(&format!("k8s.{}.name", workload.kind.to_lowercase()), &workload.name);
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Died => "died",
        Phase::Stalled => "stalled",
        Phase::Recovered => "recovered",
    }
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: AnyValue) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() });
    }

    fn text(&mut self, key: &str, value: &str) {
        self.add(key, text(value));
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: i64) {
        self.add(key, AnyValue { value: Some(Value::IntValue(value)) });
    }

    fn texts<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        let values = values.map(text).collect();
        self.add(key, AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) });
    }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}
