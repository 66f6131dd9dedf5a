//! Which file is of which document: held against a map from every document's name.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::files::mirror::listing::Matched;
use crate::files::names::Names;

/// Ids that differ in case, are no file names, look like the engine's names for others, or are long.
fn pool() -> Vec<String> {
    let plain = ["a", "A", "ab", "aB", "Ab", "AB", "a.json", "A.JSON", "a.json.json", "x-1", "X-1"];
    let odd =
        ["con", "CON", "com1", "Com1.x", "comx", "nul.", ".a", "a.", "..", "C/d", "c/d", "é", "É"];
    let mut ids: Vec<String> = plain.iter().chain(&odd).map(|id| (*id).to_owned()).collect();
    ids.extend([180, 181, 200].map(|length| "l".repeat(length)));
    ids.push("L".repeat(180));
    // What other ids are encoded to, with and without the end.
    for of in ["a", "A", "con", "C/d"] {
        for form in crate::files::names::forms(&id(of)) {
            ids.push(form.trim_end_matches(".json").to_owned());
            ids.push(form);
        }
    }
    ids
}

/// Every name that a file in the directory may have.
fn names_of(ids: &[String]) -> Vec<String> {
    let mut names = vec!["note.txt".to_owned(), ".json".to_owned(), "a.json~".to_owned()];
    for text in ids {
        names.extend(crate::files::names::forms(&id(text)));
        let plain = format!("{text}.json");
        names.extend([plain.to_lowercase(), plain.to_uppercase(), plain, text.clone()]);
    }
    names.retain(|name| !name.contains('/'));
    names.sort();
    names.dedup();
    names
}

proptest! {
    #[test]
    fn every_file_is_of_the_document_whose_name_it_bears(
        ids in prop::sample::subsequence(pool(), 0..12),
        names in prop::sample::subsequence(names_of(&pool()), 0..40),
        own in prop::collection::vec(any::<bool>(), 12),
    ) {
        let mut ids: Vec<String> = ids;
        ids.dedup();
        let mut table = Table::new();
        for text in &ids {
            let doc = Doc::new(Document::new(format!("{{\"id\": {text:?}}}")), Lsn(1), false);
            table.load(TASK, &id(text), doc);
        }
        // The model: each document's name, one by one.
        let mut model = Names::default();
        for (id, _) in table.iter(TASK) {
            model.insert(id);
        }
        let mut expected: BTreeMap<String, DocumentId> =
            table.iter(TASK).map(|(id, _)| (model.file_name(id), id.clone())).collect();
        prop_assert_eq!(expected.len(), table.len(TASK));
        let own = expected.keys().zip(own).filter(|(_, is_there)| *is_there);
        let names: BTreeSet<String> = names.into_iter().chain(own.map(|(name, _)| name.clone())).collect();
        let kinds = [Kind::File, Kind::Directory, Kind::Other];
        let entry = |(n, name): (usize, &String)| crate::fs::Entry { name: name.clone(), kind: kinds[n % 3] };
        let entries: Vec<crate::fs::Entry> = names.iter().enumerate().map(entry).collect();
        let mut found = Names::default();
        let matched = Matched::new(&mut found, &table, TASK, &entries);
        for (entry, of) in entries.iter().zip(&matched.of) {
            prop_assert_eq!(of.as_ref().map(|(id, _)| id.clone()), expected.remove(&entry.name), "{:?}", &entry.name);
        }
        let missing: BTreeMap<String, DocumentId> =
            matched.missing.iter().map(|(file, id, _)| (file.clone(), id.clone())).collect();
        prop_assert_eq!(missing.len(), matched.missing.len());
        let expected: BTreeMap<String, DocumentId> =
            expected.into_iter().map(|(name, id)| (join("tasks", &name), id)).collect();
        prop_assert_eq!(missing, expected);
        for (id, _) in table.iter(TASK) {
            prop_assert_eq!(found.file_name(id), model.file_name(id));
        }
    }
}
