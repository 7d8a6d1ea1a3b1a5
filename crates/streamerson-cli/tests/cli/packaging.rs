//! The unit and the image of the gateway.

const CONTAINERFILE: &str = include_str!("../../../../Containerfile");
const UNIT: &str = include_str!("../../../../packaging/streamerson-gateway.service");

/// A tag can be moved to another image; a digest cannot.
#[test]
fn every_image_is_pinned_by_its_digest() {
    let images: Vec<_> = CONTAINERFILE.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert!(images.len() >= 2, "{images:?}");
    for image in images {
        let image = image.split(' ').next().expect("an image");
        let (name, digest) = image.split_once("@sha256:").unwrap_or_else(|| panic!("{image} has no digest"));
        assert!(name.contains(':'), "{name} has no tag for people to read");
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    }
}

#[test]
fn the_unit_bounds_what_the_gateway_may_take_and_leaves_no_core_dump() {
    for setting in ["LimitCORE=0", "MemoryMax=", "TasksMax=", "LimitNOFILE=", "NoNewPrivileges=yes", "DynamicUser=yes"]
    {
        assert!(UNIT.lines().any(|line| line.starts_with(setting)), "{setting}");
    }
}
