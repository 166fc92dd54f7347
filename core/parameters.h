// Parameters: the one declaration of what a component can be told. A ParameterSpec serves the parser
// (core/config.h), the text of its errors, the listing of `pagelab policies describe` and the run folder's
// record of every value in force. Parameters holds resolved values and owns copies of their specs. Neither
// reads files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace pagelab {

using IntegerList = std::vector<std::int64_t>;
using RealList = std::vector<double>;
using TextList = std::vector<std::string>;
using ParameterValue = std::variant<bool, std::int64_t, double, std::string, IntegerList, RealList, TextList>;

/// One parameter: the type is that of the default value. Bounds hold for integers, reals and each number of
/// a list.
struct ParameterSpec {
  std::string name{};
  ParameterValue default_value{};
  std::string unit{};  ///< "tokens", "s", "1/s", ...; empty: none
  std::string help{};  ///< one line
  std::optional<double> minimum{};
  std::optional<double> maximum{};
  std::optional<double> above{};       ///< the value must be greater than this
  std::vector<std::string> choices{};  ///< of a text; empty: any text
  bool required = false;               ///< must be given; the default only tells the type
  bool path = false;  ///< a text that names a file or folder, relative to where it is written
};

/// "an integer", "a real number", "a text", "true or false", "a list of integers", "a list of real numbers",
/// "a list of texts".
std::string type_text(const ParameterValue& value);
/// The value as TOML: reals keep a point or an exponent and read back to the same number.
std::string toml_text(const ParameterValue& value);
/// What a value must be: "an integer of at least 1, in tokens", "one of: fixed, trace".
std::string domain_text(const ParameterSpec& spec);
/// Whether `value` has the spec's type and lies within its bounds and choices.
bool is_valid(const ParameterSpec& spec, const ParameterValue& value);

/// The candidate nearest to `name` in Levenshtein distance, if near enough to be what was meant.
std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates);
/// "valid WHAT: a, b, c; did you mean 'b'?" The last part only if something is near.
std::string valid_text(std::string_view name, std::string_view what,
                       const std::vector<std::string>& candidates);
/// "'NAME' is unknown; " and valid_text().
std::string unknown_text(std::string_view name, std::string_view what,
                         const std::vector<std::string>& candidates);

/// Resolved values, in order of declaration. Reading a name that is not declared, or with another type, is an
/// error of the program and aborts.
class Parameters {
 public:
  struct Entry {
    ParameterSpec spec;
    ParameterValue value;
  };

  Parameters() = default;
  /// Every parameter at its default. Aborts if a name is declared twice or a default is not valid.
  explicit Parameters(const std::vector<ParameterSpec>& specs);

  bool flag(std::string_view name) const { return get<bool>(name); }
  std::int64_t integer(std::string_view name) const { return get<std::int64_t>(name); }
  double real(std::string_view name) const { return get<double>(name); }
  const std::string& text(std::string_view name) const { return get<std::string>(name); }
  const IntegerList& integers(std::string_view name) const { return get<IntegerList>(name); }
  const RealList& reals(std::string_view name) const { return get<RealList>(name); }
  const TextList& texts(std::string_view name) const { return get<TextList>(name); }

  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Replaces a value. Aborts unless is_valid().
  void set(std::string_view name, ParameterValue value);

  std::vector<Entry>::const_iterator begin() const { return entries_.begin(); }
  std::vector<Entry>::const_iterator end() const { return entries_.end(); }
  std::size_t size() const { return entries_.size(); }

 private:
  const Entry* find(std::string_view name) const;
  const Entry& declared(std::string_view name) const;
  template <class T>
  const T& get(std::string_view name) const;

  std::vector<Entry> entries_;
};

}  // namespace pagelab
