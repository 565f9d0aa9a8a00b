//! What must be tolerated: extensions that nobody has to understand. The run goes on as if they were not there.

use super::{Change, End, List, Place, Role};
use crate::vectors::derivation::{Bundle, Run, extensions};

const RULE: &str = "R-extension-ignored";
const COMMENT: &str = "An unknown extension that need not be understood.";

pub(super) fn add(list: &mut List) {
    let unknown = extensions(&[(0x0001, b""), (0x70f0, b"for tests")]);
    let enrolled = End::Success("enrolled");
    for (file, base, to, after, what) in [
        ("extension-in-offer", "code-enroll", Role::New, 0, "offer extensions"),
        ("extension-in-new-hello", "code-enroll", Role::Trusted, 1, "new hello extensions"),
        ("extension-in-trusted-hello", "code-enroll", Role::New, 2, "trusted hello extensions"),
        ("extension-in-grant", "code-enroll", Role::New, 3, "grant extensions"),
        ("extension-in-qr-new-hello", "qr-new-enroll", Role::Trusted, 2, "new hello extensions"),
    ] {
        let place = Place { base, to, after };
        list.add(place, [RULE, file, COMMENT], enrolled, |run| run.set(what, &unknown).whole());
    }
    let place = Place { base: "qr-new-enroll", to: Role::New, after: 1 };
    let changed = list.run(place).set("trusted hello extensions", &unknown).whole();
    let digits = String::from_utf8(changed.values.get("check_code").to_vec()).unwrap();
    list.add(place, [RULE, "extension-in-qr-new-trusted-hello", COMMENT], enrolled, |run| {
        run.set("trusted hello extensions", &unknown).whole()
    });
    list.last().change = Some(Change::TypedCheckCode(digits));
    let place = Place { base: "code-enroll", to: Role::New, after: 3 };
    list.add(place, [RULE, "extension-in-bundle", COMMENT], enrolled, |run| {
        run.change("grant_content", |_, content| {
            let mut bundle = Bundle::decode(&content);
            bundle.extensions.push((0x70f0, b"for tests".to_vec()));
            bundle.encode()
        })
        .whole()
    });
    let place = Place { base: "qr-trusted-enroll", to: Role::New, after: 0 };
    let changed = |run: Run| run.set("offer extensions", &unknown).offer().values.get("qr_text").to_vec();
    let text = String::from_utf8(changed(list.run(place))).unwrap();
    list.add(place, [RULE, "extension-in-qr-offer", COMMENT], enrolled, |run| {
        run.set("offer extensions", &unknown).whole()
    });
    list.last().change = Some(Change::Scanned(text));
}
