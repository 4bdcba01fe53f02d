//! A real registry behind TLS.

use serde_json::json;

use crate::certificates::Authority;
use crate::place::Place;
use crate::support::registry::Registry;

#[test]
fn certificates_of_an_own_authority_are_trusted_if_said_so() {
    let (authority, other) = (Authority::new(), Authority::new());
    let registry = Registry::configured(&authority.server(), "");
    let place = Place::new();
    registry.push(&place.layout(), "a", "a:1");
    let host = registry.host();
    let image = format!("{host}/a:1");
    let trust = |settings| {
        place.write(
            "home/registries.json",
            json!({ host.clone(): settings }).to_string(),
        )
    };

    // Nobody has said that this registry, on loopback, speaks TLS.
    place.refuses(&image, [&host, "400"]);
    trust(json!({ "plainHttp": false }));
    place.refuses(&image, [&host, "certificate"]);
    trust(json!({ "caFile": other.certificate() }));
    place.refuses(&image, [&host, "certificate"]);
    trust(json!({ "caFile": place.layout().join("oci-layout") }));
    place.refuses(&image, ["oci-layout", "no certificate"]);
    trust(json!({ "caFile": authority.certificate() }));
    place.pulls(&image);
}
