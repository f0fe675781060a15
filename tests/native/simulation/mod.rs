//! A server in rough weather: users act at random and at once, commits fail before or after they
//! land, announcements are lost, the server restarts; clients sync all the while. Afterwards
//! nobody has missed anything or heard it twice.
//!
//! A failure names its seed. `SIMULATION_SEED=n` runs that one alone, `SIMULATION_SEEDS=n` the
//! first `n` of each kind.

mod actor;
mod checks;
mod client;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::world::World;
use crate::support::Failure;
use crate::support::platform::{Random, Weather, give_way};
use futures_util::future::{Either, join_all, select};
use myelin::context::Platform;

/// How many of each kind are run unless the environment says otherwise.
const SEEDS: u64 = 4;

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing; then nobody may ever have to wait for the end of their patience.
    Calm,
    Rough,
}

#[test]
fn nobody_misses_anything_while_all_goes_well() {
    run_all(Kind::Calm);
}

#[test]
fn nobody_misses_anything_while_commits_fail_and_the_server_restarts() {
    run_all(Kind::Rough);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run_all(kind: Kind) {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SIMULATION_SEEDS").unwrap_or(SEEDS) + 1,
    };
    for seed in seeds {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| simulate(kind, seed))) {
            eprintln!("{kind:?}: the seed is {seed}");
            resume_unwind(failure);
        }
    }
}

fn simulate(kind: Kind, seed: u64) {
    let world = World::new(Random::new(seed));
    let hops_max = 1 + world.random.below(6);
    let lost_one_in = if kind == Kind::Rough { 8 } else { 0 };
    world.platform.set_weather(Some(Weather {
        random: world.random.clone(),
        hops_max,
        lost_one_in,
    }));
    let clients = world.clients();
    let syncing: Vec<_> = clients.iter().map(|client| client.clone().run()).collect();
    let script = run_script(world.clone(), kind);
    let run = async move {
        match select(Box::pin(join_all(syncing)), Box::pin(script)).await {
            Either::Left(_) => panic!("the clients never end"),
            Either::Right(_) => {}
        }
    };
    world.server.run(run);
    world.platform.set_weather(None);
    if kind == Kind::Rough {
        for client in &clients {
            let client = client.clone();
            world.server.run(async move { client.catch_up().await });
        }
    }
    checks::check_log(&world);
    for client in &clients {
        checks::check_client(&world, client);
    }
}

/// All actors to their end, and then some time, in which those who wait are woken.
async fn run_script(world: World, kind: Kind) {
    let actors = world.users.iter().map(|user| actor::act(world.clone(), user.clone()));
    let actors = Box::pin(join_all(actors.collect::<Vec<_>>()));
    if kind == Kind::Calm {
        actors.await;
    } else {
        match select(actors, Box::pin(make_trouble(world.clone()))).await {
            Either::Left(_) => {}
            Either::Right(_) => panic!("trouble never ends"),
        }
    }
    world.platform.sqlite.forget_failures();
    // Longer than anybody's typing lasts.
    world.platform.sleep(30_000).await;
}

async fn make_trouble(world: World) {
    let (random, platform) = (&world.random, &world.platform);
    loop {
        for _ in 0..random.below(300) {
            give_way().await;
        }
        let failure = match random.one_in(2) {
            true => Failure::BeforeLanding,
            false => Failure::AfterLanding,
        };
        match random.below(8) {
            0 => platform.restart(),
            1 => platform.sqlite.fail_next("", failure),
            _ => platform.sqlite.fail_next("INSERT INTO event_edges", failure),
        }
        platform.sleep(random.below(400)).await;
    }
}
