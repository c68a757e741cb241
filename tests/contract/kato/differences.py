"""In what the KATO-shaped routes of the HTTP server differ from KATO, by design: each reason with the tests it changes.

`docs/http.md` tells each reason to users. A test of this list must fail through the routes, so the list stays true;
those of WAITING are not run there, because they would wait for something that never comes.
"""

DIFFERENCES: dict[str, tuple[str, ...]] = {
    "A session comes into being with its first event, whoever made it.": (
        "test_an_unknown_session_answers_404_in_katos_own_form[POST-observe]",
        "test_an_unknown_session_answers_404_in_katos_own_form[POST-observe-sequence]",
        "test_an_unknown_session_is_named_before_the_body_is_looked_at",
    ),
    "Sessions do not expire.": (
        "test_an_expired_session_that_nobody_looked_at_is_told_as_one_that_never_was",
        "test_an_expired_session_that_was_read_before_is_told_as_expired_once",
        "test_a_session_expires_and_loses_its_stm_but_not_the_patterns",
        "test_a_write_slides_the_expiry_and_a_read_does_not",
        "test_an_extension_by_its_own_time_to_live_slides_the_expiry_and_leaves_everything_else",
    ),
    "An Idempotency-Key is respected: the same request sent twice is applied once.": (
        "test_the_same_sent_twice_is_applied_twice",
    ),
    "KATO never learns by itself: max_pattern_length and stm_mode are answered, and not passed on.": (
        "test_a_length_limit_learns_by_itself_and_clears",
        "test_a_rolling_length_limit_learns_at_every_later_observe",
        "test_a_limit_of_one_event_learns_one_and_keeps_all_of_an_stm_that_was_longer_before",
        "test_a_rolling_limit_that_is_no_whole_number_fails_at_its_second_event",
        "test_a_pattern_learned_by_itself_stores_no_emotives",
        "test_a_sequence_names_what_was_learned_on_the_way",
    ),
    "Observes predict nothing: process_predictions is answered, and not passed on.": (
        "test_a_learn_leaves_the_predictions_of_the_last_observe_in_cognition_data",
        "test_with_predictions_on_an_observe_leaves_them_in_cognition_data",
    ),
    "Config values with which KATO's predictions fail are answered, and not passed on.": (
        "test_a_limit_that_is_no_whole_number_fails_only_where_something_is_found",
        "test_a_filter_that_kato_does_not_know_lets_no_pattern_through",
        "test_filters_that_are_no_list_of_names_fail_predictions",
    ),
    "A learn leaves nothing behind: time, emotives and the last observation begin again with the STM.": (
        "test_learn_does_not_reset_time",
        "test_emotives_and_metadata_leak_into_the_next_pattern",
        "test_percept_data_is_the_last_observe_with_the_mean_of_all_emotives",
    ),
    "clear-all is not carried out.": (
        "test_clear_all_empties_the_nodes_patterns_and_this_sessions_stm",
        "test_clear_all_forgets_no_learned_vector",
        "test_clear_all_forgets_the_vectors_that_no_learn_followed",
    ),
    "What KATO takes and cannot work with is refused with 422 where it comes in.": (
        "test_a_single_observe_does_not_look_at_an_id",
        "test_time_counts_every_observe_and_stm_only_events",
        "test_cognition_data_has_the_last_emotives_and_never_metadata",
        "test_a_sequence_counts_events_beyond_the_1000_that_the_stm_keeps",
        "test_200_kb_of_text_is_fine",
        "test_a_vector_of_one_number_is_added_to_every_number",
        "test_an_empty_vector_is_an_event_of_one_symbol",
        "test_patterns_learned_on_the_way_stay_when_the_sequence_fails",
        "test_half_of_a_surrogate_pair_alone_in_the_stm_answers_500_on_predictions",
        "test_a_lone_surrogate_is_taken_and_makes_later_reads_fail",
        "test_half_of_a_surrogate_pair_fails_every_learn_which_then_counts_nothing",
        "test_an_emotive_that_is_no_number_fails_every_learn_which_counts_all_the_same",
        "test_the_learn_at_a_sequences_end_keeps_its_failure_to_itself",
        "test_a_read_tells_a_number_that_is_none_as_null",
        "test_with_predictions_off_a_node_with_a_quote_learns_what_nobody_can_read",
        "test_with_predictions_on_a_node_with_a_quote_fails_at_a_single_symbol",
    ),
    "What makes KATO fail with 500 is refused with 422, or answered without asking KATO for it.": (
        "test_an_extension_beyond_all_dates_answers_500",
        "test_bytes_that_are_no_text_answer_500_where_they_would_be_quoted",
        "test_a_change_that_is_no_object_answers_500",
        "test_a_negative_or_huge_ttl_answers_500",
        "test_a_500_leaves_stm_and_time_untouched",
        "test_vectors_whose_sizes_cannot_be_added_answer_500_and_change_nothing",
        "test_a_refusal_that_would_quote_a_number_that_is_none_answers_500",
        "test_a_single_symbol_that_breaks_sql_answers_500_on_predictions",
        "test_with_predictions_on_such_a_symbol_fails_the_observe",
        "test_emotives_whose_sum_is_infinite_fail_the_learn_which_stores_the_pattern_all_the_same",
        "test_after_an_error_of_its_own_kato_closes_the_connection_without_a_word",
        "test_the_call_right_after_an_error_is_not_written_into_a_connection_that_closes",
    ),
    "The server speaks of itself where KATO speaks of itself, and of other paths in its own form.": (
        "test_the_root_says_what_is_served",
        "test_sessions_are_counted",
        "test_its_description_names_the_calls_that_this_project_makes",
        "test_a_path_or_method_that_is_not_served[GET-/nowhere-404]",
        "test_a_call_that_a_session_does_not_have_is_told_so_only_if_the_session_is_there",
    ),
}
WAITING = frozenset(
    {
        "test_a_session_expires_and_loses_its_stm_but_not_the_patterns",
        "test_a_write_slides_the_expiry_and_a_read_does_not",
        "test_an_extension_by_its_own_time_to_live_slides_the_expiry_and_leaves_everything_else",
        "test_a_pattern_learned_by_itself_stores_no_emotives",
    }
)


def reason_of(name: str) -> str | None:
    """Why the test of this name, with or without its parameters, differs; None where it must pass."""
    plain = name.partition("[")[0]
    return next((why for why, names in DIFFERENCES.items() if name in names or plain in names), None)
