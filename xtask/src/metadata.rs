//! What cargo knows of the workspace and of everything that it depends on.

use serde_json::Value;

use crate::{Failure, cargo};

/// A package of the workspace, or one that it depends on.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The licence as an SPDX expression, when the package states one.
    pub(crate) licence: Option<String>,
    /// Whether the package belongs to the workspace.
    pub(crate) is_ours: bool,
    /// Its features, `default` among them.
    pub(crate) features: Vec<String>,
}

/// All packages. Fails when `Cargo.lock` is not up to date, since everything after would then be about other versions.
pub(crate) fn packages() -> Result<Vec<Package>, Failure> {
    let json = cargo::output(["metadata", "--format-version", "1", "--all-features", "--locked"])
        .map_err(|failure| format!("{failure}; if Cargo.lock is not up to date, `cargo check` makes it so"))?;
    let metadata: Value = serde_json::from_str(&json).map_err(|error| format!("cargo's metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo's metadata hold no packages")?;
    packages.iter().map(|package| parse(package).ok_or_else(|| "a package without a name".into())).collect()
}

fn parse(package: &Value) -> Option<Package> {
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        version: package["version"].as_str()?.to_owned(),
        licence: package["license"].as_str().map(str::to_owned),
        is_ours: package["source"].is_null(),
        features: package["features"].as_object()?.keys().cloned().collect(),
    })
}
