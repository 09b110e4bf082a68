//! The flags that send diagnoses elsewhere.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use hyper::Uri;

use crate::otlp::Collector;

/// Diagnoses as OpenTelemetry log records; nothing is sent unless asked for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "OpenTelemetry")]
pub(in crate::cli) struct OtlpArgs {
    /// Send diagnoses to this receiver of OTLP over HTTP: <http://HOST:4318>, or with the path of its logs.
    #[arg(long, value_name = "URL", env = "TCPWHY_OTLP")]
    otlp: Option<Uri>,
    /// Certificates to trust, as PEM; https needs them.
    #[arg(long, value_name = "FILE", env = "TCPWHY_OTLP_CERTIFICATES", requires = "otlp")]
    otlp_certificates: Option<PathBuf>,
    /// Headers to send, such as what authorizes: NAME=VALUE, separated by commas.
    #[arg(
        long,
        value_name = "HEADERS",
        env = "TCPWHY_OTLP_HEADERS",
        hide_env_values = true,
        value_delimiter = ',',
        requires = "otlp"
    )]
    otlp_headers: Vec<String>,
}

impl OtlpArgs {
    /// The receiver, if one is named.
    pub(in crate::cli) fn collector(&self) -> anyhow::Result<Option<Collector>> {
        let Self { otlp, otlp_certificates, otlp_headers } = self;
        let Some(endpoint) = otlp else { return Ok(None) };
        let collector = Collector::new(endpoint, otlp_certificates.clone(), otlp_headers);
        collector.map(Some).map_err(anyhow::Error::msg).with_context(|| format!("--otlp {endpoint}"))
    }
}
