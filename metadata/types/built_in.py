"""The types that every installation starts with."""

from __future__ import annotations

from typing import Any

BUILT_IN: tuple[dict[str, Any], ...] = (
    {
        "file_type": "vehicle_events",
        "table_name": "vehicle_events",
        "filename_patterns": ["vehicle_events", "vehicles_events"],
        "schema_definition": {
            "fields": [
                {"name": "vehicle_id", "type": "string", "nullable": False},
                {"name": "event_time", "type": "timestamp", "nullable": False},
                {"name": "event_source", "type": "string"},
                {"name": "event_type", "type": "string"},
                {
                    "name": "event_value",
                    "type": "string",
                    "coerce": True,
                    "description": "producers send text and numbers; a number keeps its JSON text",
                },
                {"name": "event_extra_data", "type": "json"},
            ],
            "primary_key": ["vehicle_id", "event_time"],
        },
        "partition_column": "date",
        "processing_config": {
            "partition_by": "date",
            "format": "iceberg",
            "write_mode": "append",
            "summary": {
                "table": "daily_summary",
                "key": ["vehicle_id"],
                "time": "event_time",
                "latest": ["event_type"],
            },
        },
        "description": "Events of vehicles: what happened to which vehicle, when",
    },
    {
        "file_type": "vehicle_status",
        "table_name": "vehicle_status",
        "filename_patterns": ["vehicle_status", "vehicles_status"],
        "schema_definition": {
            "fields": [
                {"name": "vehicle_id", "type": "string", "nullable": False},
                {"name": "report_time", "type": "timestamp", "nullable": False},
                {"name": "status_source", "type": "string"},
                {"name": "status", "type": "string"},
            ],
            "primary_key": ["vehicle_id", "report_time"],
        },
        "partition_column": "date",
        "processing_config": {"partition_by": "date", "format": "iceberg", "write_mode": "append"},
        "description": "Status reports of vehicles",
    },
)
"""The types that every installation starts with, in the form of a types file."""
