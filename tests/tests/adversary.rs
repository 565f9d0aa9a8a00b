//! Devices that are not who they should be, with engines that follow the protocol. Those that do not are in
//! `handfast-protocol`, where messages can be forged.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::Mode;
use handfast_protocol::{Decision, Engine, Event, Failure, Input, Request, ToStore, Way};
use handfast_tests::sim::{Ask, Cast, Pair, Role, Scenario, entry};

/// Somebody with a photograph of the QR code is the first to answer it, as the same kind of device.
fn race(mode: Mode, request: Request, mut cast: Cast, seed: u64) -> (Pair, usize) {
    let scenario = Scenario { request, mode, ..Scenario::enroll(mode, seed) };
    // It calls itself and its account what the victim's devices are called.
    cast.trusted.account.label = scenario.cast.trusted.account.label.clone();
    cast.trusted.info = scenario.cast.trusted.info.clone();
    let mut pair = Pair::shown(scenario, seed);
    let (way, now, mut rng) = (pair.introduction(), pair.sim.now(), pair.sim.device_rng());
    let engine = match mode {
        Mode::QrNew => Engine::trusted(cast.trusted, way, now, &mut rng),
        _ => Engine::new_device(cast.new, Request::Bundle, way, now, &mut rng),
    };
    let racer = pair.sim.add(engine.unwrap(), rng, 1);
    pair.sim.connect(racer);
    pair.sim.run();
    (pair, racer)
}

#[test]
fn a_racing_trusted_device_of_another_account_cannot_plant_it() {
    let (mut pair, racer) = race(Mode::QrNew, Request::Bundle, Cast::new(2), 1);
    // The real device is turned away, so its screen shows no digits, and the racer's are not on any screen of the person.
    pair.read();
    pair.sim.run();
    assert_eq!(pair.failure(Role::Trusted), &Failure::OfferInUse);
    assert!(!pair.device(Role::Trusted).saw("ShowCheckCode"));
    assert!(pair.device(Role::New).saw("ThirdClaim"), "the person learns that somebody else is there");
    assert_eq!(pair.asked(Role::New), Some(Ask::CheckCode));

    // Whatever the person types, it is not what only the racer knows.
    let racers = pair.sim.devices[racer].events.iter().find_map(|event| match event {
        Event::ShowCheckCode(code) => Some(code.reveal()),
        _ => None,
    });
    let typed = if racers.unwrap() == "123 456" { "654 321" } else { "123 456" };
    pair.decide(Role::New, Decision::CheckCode(typed.parse().unwrap()));
    pair.sim.run();
    assert_eq!(pair.failure(Role::New), &Failure::WrongCheckCode);
    assert_eq!(pair.sim.devices[racer].outcome, Some(Err(Failure::WrongCheckCode)));
    assert!(pair.device(Role::New).stored.is_empty());
}

/// The other way round: a stranger reads a trusted device's QR code.
#[test]
fn a_racing_new_device_gets_nothing_without_the_digits_on_its_screen() {
    let (mut pair, racer) = race(Mode::QrTrusted, Request::Bundle, Cast::new(4), 3);
    pair.read();
    pair.sim.run();
    assert_eq!(pair.failure(Role::New), &Failure::OfferInUse);
    assert!(!pair.device(Role::New).saw("ShowCheckCode"));
    assert_eq!(pair.asked(Role::Trusted), Some(Ask::CheckCode));
    pair.decide(Role::Trusted, Decision::Approve);
    pair.sim.run();
    assert!(pair.device(Role::Trusted).prepared.is_empty());
    assert!(pair.sim.devices[racer].stored.is_empty());
}

/// Being known to a device from an unlock does not open an enrollment.
#[test]
fn a_pinned_device_of_another_account_is_no_pin_for_an_unlock() {
    let request = Request::items(false, vec![entry("token")]).unwrap();
    let stranger = Cast::new(6);
    let scenario = Scenario::unlock(request, 5);
    let mut pair = Pair::shown(scenario, 5);
    let (way, now, mut rng) = (pair.introduction(), pair.sim.now(), pair.sim.device_rng());
    // It claims to be of the victim's account, whose id is no secret.
    let mut device = stranger.trusted.clone();
    device.account = pair.scenario.cast.trusted.account.clone();
    let racer = pair.sim.add(Engine::trusted(device, way, now, &mut rng).unwrap(), rng, 1);
    pair.sim.connect(racer);
    pair.sim.run();
    assert_eq!(pair.asked(Role::New), Some(Ask::CheckCode), "an unknown identity is no pin");
}

/// One person's device does what another's asked: nothing stops a person from approving, but the bundle is only
/// the approver's, and whoever asked sees whose it is.
#[test]
fn a_new_device_always_sees_whose_account_it_is_offered() {
    let (mut pair, racer) = race(Mode::QrNew, Request::Bundle, Cast::new(8), 7);
    let Some(Event::Account { id, trusted_identity, .. }) =
        pair.device(Role::New).events.iter().find(|event| matches!(event, Event::Account { .. }))
    else {
        panic!("no account was named")
    };
    assert_eq!(*id, Cast::new(8).trusted.account.id);
    assert_eq!(*trusted_identity, Cast::new(8).identity(Role::Trusted));

    // The person is talked into typing the racer's digits: the phished case, which the digits make visible.
    let digits = pair.sim.devices[racer].events.iter().find_map(|event| match event {
        Event::ShowCheckCode(code) => Some(code.clone()),
        _ => None,
    });
    pair.decide(Role::New, Decision::CheckCode(digits.unwrap()));
    pair.sim.input(racer, Input::Tick);
    pair.sim.run();
    pair.sim.input(racer, Input::Decision(Decision::Approve));
    pair.sim.input(racer, Input::Prepared(Box::new(Cast::new(8).bundle)));
    pair.sim.run();
    let [ToStore::Enrollment(enrollment)] = pair.device(Role::New).stored.as_slice() else { panic!("talked into it") };
    assert_eq!(enrollment.account.id, Cast::new(8).trusted.account.id, "the account that was named");
}

/// A code is good for one try whoever tries it.
#[test]
fn each_guess_at_a_code_costs_the_code() {
    for seed in 0..20 {
        let mut pair = Pair::shown(Scenario::enroll(Mode::Code, seed), seed);
        let Way::EnterCode(code) = pair.introduction() else { panic!("a code is shown") };
        let (mut rng, now) = (pair.sim.device_rng(), pair.sim.now());
        let guess = handfast_protocol::pairing::code::VerificationCode::generate(code.nameplate(), &mut rng);
        let cast = Cast::new(seed + 100);
        let engine = Engine::new_device(cast.new, Request::Bundle, Way::EnterCode(guess), now, &mut rng).unwrap();
        let guesser = pair.sim.add(engine, rng, 1);
        pair.sim.connect(guesser);
        pair.sim.run();
        assert_eq!(pair.failure(Role::Trusted), &Failure::WrongCode);
        assert!(pair.sim.devices[guesser].stored.is_empty());
        assert_eq!(pair.sim.relay.mailboxes(), 0, "nothing is left to guess at");
    }
}
