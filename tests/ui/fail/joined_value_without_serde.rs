use tidemill::DStream;

#[derive(Clone)]
struct Cargo {
    tons: u64,
}

type Ships = DStream<(u32, String)>;
type Loads = DStream<(u32, Cargo)>;

fn loaded(ships: &Ships, loads: &Loads) -> DStream<(u32, (String, Cargo))> {
    ships.join(loads)
}

fn by_ship(ships: &Ships, loads: &Loads) -> DStream<(u32, (Vec<String>, Vec<Cargo>))> {
    ships.cogroup(loads)
}

fn main() {}
