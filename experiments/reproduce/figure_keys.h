// Keys that several tables of a figure's file have alike.
#pragma once

#include <string>
#include <utility>

#include "core/parameters.h"

namespace pagelab {

inline ParameterSpec text_key(std::string name, std::string help, bool required = false) {
  return {.name = std::move(name), .default_value = "", .help = std::move(help), .required = required};
}

}  // namespace pagelab
