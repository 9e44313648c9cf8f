use tidemill::DStream;

#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Harbour {
    name: String,
}

type Ships = DStream<(Harbour, u64)>;
type Depths = DStream<(Harbour, u32)>;

fn depths_of_ships(ships: &Ships, depths: &Depths) -> DStream<(Harbour, (u64, u32))> {
    ships.join(depths)
}

fn main() {}
