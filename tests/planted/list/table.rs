//! The table's index of statuses, which no longer says what the documents do.

use super::{Bug, By, bug};

const INDEX: By = By::Lib("state::table::shard");

pub(super) const BUGS: [Bug; 2] = [
    bug(
        "status-of-replaced-document-kept",
        "state/table/shard.rs",
        "if «before == after.map(SmolStr::as_str)» {",
        "previous.is_some() && after.is_some()",
        "a document that is replaced stays below its former status",
        INDEX,
    ),
    bug(
        "status-of-deleted-document-kept",
        "state/table/shard.rs",
        "ids.remove(id);",
        "if next.is_some() {
                ids.remove(id);
            }",
        "a document that is deleted stays below its status",
        INDEX,
    ),
];
