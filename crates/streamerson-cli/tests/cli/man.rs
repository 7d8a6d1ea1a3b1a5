//! `streamerson man`.

use std::fs;

use crate::support::{assert_fails, run, stdout_of};

#[tokio::test]
async fn every_command_has_a_page() {
    let dir = std::env::temp_dir().join(format!("streamerson-man-{}", std::process::id()));
    assert_eq!(stdout_of(&run(&format!("man --dir {}", dir.display())).await), "");
    let mut pages: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    for page in ["streamerson.1", "streamerson-dead-replay.1", "streamerson-groups-drop.1", "streamerson-doctor.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} is not in {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("help")), "{pages:?}");
    for page in &pages {
        let text = fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains("EXAMPLES AND OUTPUT"), "{page}: {text}");
    }
    fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_page_is_printed_with_its_examples_as_they_are() {
    let page = run("man dead replay").await;
    let text = stdout_of(&page);
    assert!(text.contains(".TH streamerson-dead-replay 1"), "{text}");
    assert!(text.contains(".nf\n") && text.contains("streamerson dead replay orders \\-\\-reason failed"), "{text}");
    assert!(stdout_of(&run("man").await).contains("streamerson\\-dead(1)"));
    assert_fails(&run("man dead bury").await, 2, &["there is no command `dead bury`"]);
    assert_fails(&run("man --dir /proc/nowhere/man").await, 1, &["cannot write into /proc/nowhere/man"]);
}
