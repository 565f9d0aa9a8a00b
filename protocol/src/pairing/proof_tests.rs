//! Each token needs its check.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::handshake::tests::channels;
use super::*;
use crate::crypto::test_support::seeded_rng;
use crate::device::DeviceKey;
use alloc::vec;

const CODE: Kind = Kind { mode: Mode::Code, purpose: Purpose::Enroll };
const QR_ENROLL: Kind = Kind { mode: Mode::QrNew, purpose: Purpose::Enroll };
const QR_UNLOCK: Kind = Kind { mode: Mode::QrNew, purpose: Purpose::Unlock };
const QR_TRUSTED: Kind = Kind { mode: Mode::QrTrusted, purpose: Purpose::Enroll };

#[test]
fn the_channel_alone_authenticates_in_code_mode_only() {
    for (kind, enough) in [(CODE, true), (QR_ENROLL, false), (QR_UNLOCK, false), (QR_TRUSTED, false)] {
        let (_, channel) = channels(kind, 1);
        let by = Authenticated::by_code(kind, &channel).map(|authenticated| authenticated.by());
        assert_eq!(by, enough.then_some(AuthenticatedBy::Code), "{kind:?}");
    }
}

#[test]
fn a_check_code_authenticates_only_as_a_whole() {
    let expected: CheckCode = "123456".parse().unwrap();
    let authenticated = Authenticated::by_check_code(&expected, &"123456".parse().unwrap()).unwrap();
    assert_eq!(authenticated.by(), AuthenticatedBy::CheckCode);
    for wrong in ["023456", "123457", "654321", "000000"] {
        assert!(Authenticated::by_check_code(&expected, &wrong.parse().unwrap()).is_none(), "{wrong}");
    }
}

#[test]
fn pins_authenticate_for_an_unlock_between_devices_that_both_know_each_other() {
    let rng = &mut seeded_rng(2);
    let [peer, other] = [DeviceKey::generate(rng).identity(), DeviceKey::generate(rng).identity()];
    let authenticated = Authenticated::by_pins(QR_UNLOCK, &peer, &[other, peer], true).unwrap();
    assert_eq!(authenticated.by(), AuthenticatedBy::RecordedIdentities);
    assert!(Authenticated::by_pins(QR_UNLOCK, &peer, &[other, peer], false).is_none(), "it does not know us");
    assert!(Authenticated::by_pins(QR_UNLOCK, &peer, &[other], true).is_none(), "we do not know it");
    assert!(Authenticated::by_pins(QR_UNLOCK, &peer, &[], true).is_none());
    for enroll in [CODE, QR_ENROLL, QR_TRUSTED] {
        assert!(Authenticated::by_pins(enroll, &peer, &[peer], true).is_none(), "{enroll:?}");
    }
}

#[test]
fn one_yes_approves_unless_the_relay_says_that_the_networks_differ() {
    let request = Request::Items { unlock_key: true, entries: vec![] };
    for network in [Network::Same, Network::Unknown] {
        let Yes::Approved(approved) = ApprovalQuestion::new(request.clone(), network).yes() else {
            panic!("{network:?}")
        };
        assert_eq!(approved.request(), &request);
    }
    let Yes::AskDifferentNetwork(second) = ApprovalQuestion::new(request.clone(), Network::Different).yes() else {
        panic!("one yes is not enough")
    };
    assert_eq!(second.yes().request(), &request);
}
