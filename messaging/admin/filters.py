from desk.admin import RecentValuesFilter


class TypeFilter(RecentValuesFilter):
    title = "type"
    parameter_name = "type"


class ErrorTypeFilter(RecentValuesFilter):
    title = "error type"
    parameter_name = "error_type"
