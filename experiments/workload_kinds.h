// Kinds: tables from the `kind` of a section to what it declares and what it makes. Adding a kind is one
// entry in one table; the parser, the errors and the listing follow from it. A Choice borrows nothing.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/error.h"
#include "core/parameters.h"

namespace pagelab {

/// What a section chose: its kind with all parameters resolved ("kind" itself first), and where it was
/// written.
struct KindChoice {
  std::string kind;
  Parameters parameters;
  ConfigTable table;  ///< for errors found later
};

/// One kind: `make` gets the choice and the arguments that all kinds of the table share.
template <class Product, class... Arguments>
struct Kind {
  std::string name;
  std::string summary;  ///< one line
  std::vector<ParameterSpec> parameters;
  std::function<std::unique_ptr<Product>(const KindChoice&, Arguments...)> make;
};

/// What Kind::make is for a class that is constructed from the same arguments.
template <class Made>
inline constexpr auto make_one = [](const KindChoice& choice, const auto&... arguments) {
  return std::make_unique<Made>(choice, arguments...);
};

/// Resolves a section by its `kind`, the first of the table if it is not given. Throws InputError.
template <class K>
KindChoice resolve_kind(const ConfigTable& table, const std::vector<K>& kinds, const std::string& help) {
  ParameterSpec spec{.name = "kind", .default_value = kinds.front().name, .help = help};
  for (const K& kind : kinds) {
    spec.choices.push_back(kind.name);
  }
  const std::string name = table.text(spec);
  std::vector<ParameterSpec> specs = {spec};
  const auto kind = std::ranges::find(kinds, name, &K::name);
  specs.insert(specs.end(), kind->parameters.begin(), kind->parameters.end());
  return {name, table.resolve(specs), table};
}

/// Makes what was chosen.
template <class Product, class... Arguments>
std::unique_ptr<Product> make_kind(const std::vector<Kind<Product, Arguments...>>& kinds,
                                   const KindChoice& choice, Arguments... arguments) {
  const auto kind = std::ranges::find(kinds, choice.kind, &Kind<Product, Arguments...>::name);
  PAGELAB_INVARIANT(kind != kinds.end(), choice.kind);
  return kind->make(choice, arguments...);
}

}  // namespace pagelab
