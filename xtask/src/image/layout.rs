//! An OCI archive: a tar of blobs named by their digests, and an index that says where to begin
//! (image-spec 1.1: image-layout.md, manifest.md, config.md, image-index.md).

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};

use super::Platform;
use super::layer::compressed;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What is said of an image beside its content.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// `REPOSITORY:TAG`.
    pub name: &'a str,
    /// When it was made, seconds since 1970.
    pub epoch: u64,
}

/// The image of one platform.
pub struct Image {
    /// What it runs on.
    pub platform: Platform,
    /// Its file system, a tar.
    pub layer: Vec<u8>,
    /// What runs if nobody says otherwise.
    pub command: Command,
}

/// A command line.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The words that always begin it.
    pub entrypoint: &'static [&'static str],
    /// Those after them, which users replace.
    pub arguments: &'static [&'static str],
}

/// A whole archive.
pub struct Layout {
    blobs: Vec<Blob>,
    index: Value,
    root: String,
}

struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Layout {
    /// The archive of one image, or of one for each of some platforms.
    pub fn new(images: &[Image], about: &About) -> Self {
        let mut blobs = Vec::new();
        let mut manifests: Vec<_> = images.iter().map(|image| manifest(image, about, &mut blobs)).collect();
        let mut root = match manifests.len() {
            1 => manifests.remove(0),
            _ => add(&mut blobs, INDEX, index(&manifests).to_string().into_bytes()),
        };
        let digest = root["digest"].as_str().unwrap_or_default().to_owned();
        // What containerd and what others call it once it is loaded.
        root["annotations"] = json!({
            "io.containerd.image.name": about.name,
            "org.opencontainers.image.ref.name": about.name,
        });
        Self { blobs, index: index(&[root]), root: digest }
    }

    /// Digest of the manifest or index that its name stands for; `image.digest` of the chart.
    pub fn digest(&self) -> &str {
        &self.root
    }

    /// Writes it.
    pub fn write(&self, to: impl Write) -> std::io::Result<()> {
        let mut tar = Builder::new(to);
        let mut put = |path: &str, bytes: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes)
        };
        put("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
        put("index.json", self.index.to_string().as_bytes())?;
        for Blob { digest, bytes } in &self.blobs {
            put(&format!("blobs/{}", digest.replace(':', "/")), bytes)?;
        }
        tar.into_inner()?.flush()
    }
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// Adds an image's blobs; what the index says of it.
fn manifest(image: &Image, about: &About, blobs: &mut Vec<Blob>) -> Value {
    let created = rfc3339(about.epoch);
    let layer = add(blobs, LAYER, compressed(&image.layer));
    let config = json!({
        "architecture": image.platform.name(),
        "os": "linux",
        "created": created,
        "config": {
            "Entrypoint": image.command.entrypoint,
            "Cmd": image.command.arguments,
            "Env": ["PATH=/usr/bin"],
            "User": "0:0",
            "Labels": labels(&created),
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&image.layer)]},
        "history": [{"created": created, "created_by": "cargo xtask image"}],
    });
    let config = add(blobs, CONFIG, config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": labels(&created),
    });
    let mut descriptor = add(blobs, MANIFEST, manifest.to_string().into_bytes());
    descriptor["platform"] = json!({"architecture": image.platform.name(), "os": "linux"});
    descriptor
}

/// The image-spec's annotations; as labels too, which more tools show.
fn labels(created: &str) -> Value {
    json!({
        "org.opencontainers.image.title": "tcpwhy",
        "org.opencontainers.image.description": "Why did this TCP connection stall or die?",
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        // The kernel side is under the GPL where the kernel asks for it.
        "org.opencontainers.image.licenses": "(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)",
        "org.opencontainers.image.created": created,
    })
}

/// Adds a blob; its descriptor.
fn add(blobs: &mut Vec<Blob>, kind: &str, bytes: Vec<u8>) -> Value {
    let (digest, size) = (digest(&bytes), bytes.len());
    let descriptor = json!({"mediaType": kind, "digest": digest, "size": size});
    blobs.push(Blob { digest, bytes });
    descriptor
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// UTC.
pub fn rfc3339(seconds: u64) -> String {
    jiff::Timestamp::from_second(seconds.cast_signed()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About { name: "tcpwhy:1", epoch: 86_400 };

    fn image(platform: Platform) -> Image {
        Image {
            platform,
            layer: platform.name().into(),
            command: Command { entrypoint: &["/x"], arguments: &[] },
        }
    }

    fn blob<'a>(layout: &'a Layout, descriptor: &Value) -> &'a [u8] {
        let blob = layout.blobs.iter().find(|blob| descriptor["digest"] == *blob.digest).unwrap();
        assert_eq!(descriptor["size"], blob.bytes.len());
        &blob.bytes
    }

    fn parsed(layout: &Layout, descriptor: &Value) -> Value {
        serde_json::from_slice(blob(layout, descriptor)).unwrap()
    }

    #[test]
    fn one_image_is_named_by_the_index_itself() {
        let layout = Layout::new(&[image(Platform::Amd64)], &ABOUT);
        let root = &layout.index["manifests"][0];
        assert_eq!(root["annotations"]["org.opencontainers.image.ref.name"], "tcpwhy:1");
        assert_eq!(root["digest"], layout.digest());
        let manifest = parsed(&layout, root);
        let config = parsed(&layout, &manifest["config"]);
        assert_eq!(config["created"], "1970-01-02T00:00:00Z");
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(b"amd64"));
        assert_eq!(&blob(&layout, &manifest["layers"][0])[..2], [0x1f, 0x8b]);
    }

    #[test]
    fn more_are_behind_an_index_of_their_own() {
        let layout = Layout::new(&[image(Platform::Amd64), image(Platform::Arm64)], &ABOUT);
        let roots = layout.index["manifests"].as_array().unwrap();
        assert_eq!((roots.len(), &roots[0]["mediaType"]), (1, &json!(INDEX)));
        let inner = parsed(&layout, &roots[0]);
        let platforms: Vec<_> =
            inner["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]["architecture"]).collect();
        assert_eq!(platforms, ["amd64", "arm64"]);
    }

    #[test]
    fn the_archive_is_the_same_each_time() {
        let write = || {
            let mut bytes = Vec::new();
            Layout::new(&[image(Platform::Arm64)], &ABOUT).write(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(write(), write());
    }
}
