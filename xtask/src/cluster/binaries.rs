//! The parts of a cluster from Debian: etcd, containerd and runc as they are, Kubernetes 1.20 compiled from Debian's
//! own source package, the last one that has all of it. Some ten minutes, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::archive::{Archive, Selection};
use crate::setup::debian;
use crate::{process, report};

/// What is compiled.
const KUBERNETES: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
/// Packages that start a service where they are installed, and their programs.
const UNPACKED: [(&str, &[&str]); 4] = [
    ("containerd", &["containerd", "containerd-shim-runc-v2", "ctr"]),
    ("etcd-server", &["etcd"]),
    ("busybox-static", &["busybox"]),
    ("kubernetes-client", &["kubectl"]),
];
const INSTALLED: [&str; 4] =
    ["containernetworking-plugins", "golang-github-modern-go-reflect2-dev", "golang-go", "runc"];
const SOURCES: Selection = Selection {
    what: "Debian's sources",
    kind: "deb-src",
    architecture: "amd64",
    suites: &[(Some("bookworm"), "")],
};

/// Leaves all programs in `dir/bin`.
pub fn ensure(dir: &Path) -> Result<()> {
    debian::install(&INSTALLED)?;
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    for (package, programs) in UNPACKED {
        unpack(dir, &bin, package, programs)?;
    }
    if KUBERNETES.iter().any(|name| !bin.join(name).exists()) {
        compile(dir, &bin).context("compile Kubernetes")?;
    }
    Ok(())
}

fn unpack(dir: &Path, bin: &Path, package: &str, programs: &[&str]) -> Result<()> {
    if programs.iter().all(|name| bin.join(name).exists()) {
        return Ok(());
    }
    let tree = dir.join("packages").join(package);
    debian::unpack(package, &tree)?;
    for name in programs {
        let places = ["usr/bin", "bin"].map(|folder| tree.join(folder).join(name));
        let from = places.iter().find(|file| file.exists());
        let from = from.with_context(|| format!("{package} has no {name}"))?;
        fs::copy(from, bin.join(name)).with_context(|| format!("copy {name}"))?;
    }
    Ok(())
}

fn compile(dir: &Path, bin: &Path) -> Result<()> {
    let tree = dir.join("go/src/k8s.io/kubernetes");
    if !tree.join("cmd/kubelet").exists() {
        fetch(dir, &tree)?;
    }
    let go = Go { dir, tree: &tree, bin };
    go.write_openapi()?;
    report::status("Compiling", "Kubernetes, some ten minutes");
    let version = "k8s.io/component-base/version";
    let flags = [version, "k8s.io/kubernetes/vendor/k8s.io/component-base/version"].map(|package| {
        format!("-X {package}.gitMajor=1 -X {package}.gitMinor=20 -X {package}.gitVersion=v1.20.2")
    });
    let flags = format!("-s -w {}", flags.join(" "));
    let mut command = go.command("build");
    command.args(["-trimpath", "-tags", "providerless dockerless", "-ldflags", &flags, "-o"]).arg(bin);
    process::run(command.args(KUBERNETES.map(|name| format!("./cmd/{name}"))))
}

fn fetch(dir: &Path, tree: &Path) -> Result<()> {
    report::status("Fetching", "Kubernetes 1.20 as Debian's source package");
    let archive = Archive::open(dir.join("apt"), SOURCES)?;
    let files = archive.download_source(&["kubernetes"], &dir.join("source"))?;
    let is_upstream = |file: &&PathBuf| file.to_string_lossy().ends_with(".orig.tar.gz");
    let upstream = files.iter().find(is_upstream).context("the source package has no upstream archive")?;
    fs::create_dir_all(tree).with_context(|| format!("create {}", tree.display()))?;
    let mut tar = Command::new("tar");
    process::capture(tar.arg("-xzf").arg(upstream).arg("-C").arg(tree).arg("--strip-components=1"))?;
    replace_reflect2(tree)
}

/// The one of that time corrupts memory with Go 1.18 and newer.
fn replace_reflect2(tree: &Path) -> Result<()> {
    let old = tree.join("vendor/github.com/modern-go/reflect2");
    fs::remove_dir_all(&old).context("remove the old reflect2")?;
    let new = "/usr/share/gocode/src/github.com/modern-go/reflect2";
    process::capture(Command::new("cp").args(["-rL", new]).arg(&old))?;
    process::capture(Command::new("find").arg(&old).args(["-name", "*_test.go", "-delete"])).map(drop)
}

/// Go as Debian's packages are built: no modules, what is vendored.
struct Go<'a> {
    dir: &'a Path,
    tree: &'a Path,
    bin: &'a Path,
}

impl Go<'_> {
    fn command(&self, what: &str) -> Command {
        let mut command = Command::new("go");
        command.arg(what).current_dir(self.tree).envs([
            ("GO111MODULE", "off"),
            ("GOFLAGS", ""),
            ("CGO_ENABLED", "0"),
        ]);
        command.env("GOPATH", self.dir.join("go")).env("GOCACHE", self.dir.join("gocache"));
        command
    }

    /// A generated file that the archive lacks: the types that the API server describes.
    fn write_openapi(&self) -> Result<()> {
        let generator = self.bin.join("openapi-gen");
        if !generator.exists() {
            let mut build = self.command("build");
            process::run(
                build.arg("-o").arg(&generator).arg("./vendor/k8s.io/kube-openapi/cmd/openapi-gen"),
            )?;
        }
        let mut command = Command::new(&generator);
        command.current_dir(self.tree).envs([("GO111MODULE", "off"), ("GOFLAGS", "")]);
        command.env("GOPATH", self.dir.join("go")).args(["--input-dirs", &self.described()?]);
        command.args(["--output-package", "k8s.io/kubernetes/pkg/generated/openapi"]);
        command.args(["--output-file-base", "zz_generated.openapi", "--report-filename", "/dev/null"]);
        command.args(["--go-header-file", "hack/boilerplate/boilerplate.generatego.txt"]);
        process::capture(&mut command).map(drop)
    }

    /// Packages with the generator's mark.
    fn described(&self) -> Result<String> {
        let script = r"grep -lrE '\+k8s:openapi-gen=' --include=*.go staging/src/k8s.io pkg cmd | xargs -n1 dirname |
            grep -vE '/testdata|_examples|/code-generator|/sample-' | sort -u |
            sed 's,^,k8s.io/kubernetes/,;s,staging/src/,vendor/,' | paste -sd,";
        let found = process::capture(Command::new("sh").args(["-c", script]).current_dir(self.tree))?;
        Ok(String::from_utf8_lossy(&found).trim().to_owned())
    }
}
