// FigurePage: the one page that shows all reproduced figures of a paper, each with what was measured, its
// plot and a verdict per claim. Self-contained but for the plots beside it.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

namespace pagelab {

/// The page as HTML. `records` are those of figure_record.h; of plots the page refers to those that are in
/// `folder`.
std::string figure_page(const std::string& paper, std::span<const nlohmann::ordered_json> records,
                        const std::filesystem::path& folder);

}  // namespace pagelab
