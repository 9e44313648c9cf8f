/// What a type looks like to serde.
pub(crate) fn shape<T: serde::de::DeserializeOwned>() -> String {
    std::any::type_name::<T>().to_string()
}
