//! Every cause has its page in `docs/causes`, and the index links it.

use std::fs;
use std::path::Path;

use agent_model::cause::Cause;

#[test]
fn every_cause_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/causes");
    let index = fs::read_to_string(pages.join("README.md")).unwrap();
    for word in Cause::WORDS {
        let page = fs::read_to_string(pages.join(format!("{word}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# `{word}`\n")), "docs/causes/{word}.md is not {word}'s page");
        assert!(index.contains(&format!("({word}.md)")), "docs/causes/README.md does not link {word}.md");
    }
    assert_eq!(fs::read_dir(&pages).unwrap().count(), Cause::WORDS.len() + 1, "a page without a cause");
}
